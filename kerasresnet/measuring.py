"""How fast this machine is, for predictions of how long training takes."""

import time

import numpy as np

from kerasresnet.backbones import stage_of
from kerasresnet.classifier import Classifier
from kerasresnet.images import ImageData
from kerasresnet.precision import Precision
from kerasresnet.rules import Facts, usual_batch_size
from kerasresnet.twins import Trunk

_BATCH = 32
_TIMES = 3
# Gradients from a stage on, against a pass through the whole frozen network, and what
# Adam takes for each weight in a step: measured on two cores.
_STEP_RATIOS = {"conv5": 0.9, "conv4": 2.1, "conv3": 4.2, "conv2": 5.2, "conv1": 6.2}
_ADAM_SECONDS = 8e-9
# Building and tracing, once for all and once for each stage.
_ONCE_SECONDS = 5.0
_STAGE_SECONDS = 10.0
# The report is computed in float32, by Keras's own layers.
_REPORT_RATIO = 2.5


def measure(
    model: Classifier, train: ImageData, validation: ImageData, precision: Precision
) -> Facts:
    """Measures the frozen network on some random images, which takes a few seconds.

    Args:
        model: A `Classifier`.
        train: What it will be trained on.
        validation: What it will be scored on.
        precision: As in `fit`.

    Returns:
        What the rules for a recipe are told. Times of training are estimated from that
        of a pass through the frozen network.
    """
    seconds = _trunk_seconds(model, precision)
    counts = [count for count in train.counts().values() if count]
    report = _REPORT_RATIO * seconds * len(validation)
    return Facts(
        images=len(train),
        smallest_class=min(counts),
        classes=len(counts),
        image_size=min(model.image_size),
        trunk_seconds=seconds,
        step_seconds=_step_seconds(model, seconds, len(train)),
        overhead_seconds=_ONCE_SECONDS + report,
        stage_overhead_seconds=_STAGE_SECONDS,
        validation_images=len(validation),
    )


def _step_seconds(model: Classifier, seconds: float, images: int) -> dict[str, float]:
    """Seconds of training for an image, by the first stage that is trained."""
    adam = _ADAM_SECONDS / usual_batch_size(images)
    found, weights = {}, 0
    for stage, ratio in _STEP_RATIOS.items():
        layers = [layer for layer in model.layers if stage_of(layer.name) == stage]
        weights += sum(layer.count_params() for layer in layers)
        found[stage] = ratio * seconds + adam * weights
    return found


def _trunk_seconds(model: Classifier, precision: Precision) -> float:
    trunk = Trunk(model, "avg_pool", precision)
    images = np.random.default_rng(0).integers(
        0, 256, (_BATCH, *model.image_size, 3), "uint8"
    )
    trunk.features(images)  # compiles
    found = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        trunk.features(images)
        found.append(time.perf_counter() - start)
    return float(np.median(found)) / _BATCH
