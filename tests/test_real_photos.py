"""What drawn pictures cannot show; skipped where there are no real photos."""

import pytest

import kerasresnet as kr


def test_every_real_photo_is_read(real_data):
    flowers = kr.ImageData.from_folder(real_data / "flower_photos").check()
    others = kr.ImageData.from_paths(real_data / "imagenet_photos").check()
    assert flowers.ok
    assert others.ok
    assert not flowers.small


def test_a_trained_trunk_tells_real_flowers_apart(real_data):
    trunk = real_data / "weights" / "resnet50_tiny_imagenet_64px_notop.weights.h5"
    if not trunk.is_file():
        pytest.skip(f"no trained trunk at {trunk}")
    data = kr.ImageData.from_folder(real_data / "flower_photos")
    train, held_out = data.split(0.2)
    model = kr.build_classifier(5, weights=trunk, input_shape=(64, 64, 3))
    kr.fit(model, train.take(100), epochs=5)
    # Chance is 0.2.
    assert kr.evaluate(model, held_out).accuracy_interval[0] > 0.25
