"""What the rules are told of this machine is plausible."""

import kerasresnet as kr
from kerasresnet.measuring import measure


def test_training_more_takes_longer(small, coloured):
    images, labels = coloured
    train = kr.ImageData.from_arrays(images[:40], labels[:40])
    held_out = kr.ImageData.from_arrays(images[40:], labels[40:])
    facts = measure(small(3), train, held_out, "float32")
    assert (facts.images, facts.validation_images) == (40, 20)
    assert (facts.smallest_class, facts.classes, facts.image_size) == (13, 3, 32)
    assert 0 < facts.trunk_seconds < 1
    steps = [facts.step_seconds[f"conv{number}"] for number in (5, 4, 3, 2, 1)]
    assert steps == sorted(steps)
