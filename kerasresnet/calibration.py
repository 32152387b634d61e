"""Probabilities that mean what they say: one temperature, and what sets of classes need."""

import logging
from dataclasses import dataclass

import keras
import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from kerasresnet.certainty import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    Certainty,
    before_temperature,
    current,
    fingerprint,
    kept_chances,
    log_probabilities,
)
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError
from kerasresnet.errors import DataError, count_of
from kerasresnet.evaluation import evaluate
from kerasresnet.inputs import Data
from kerasresnet.scores import calibration_error, log_loss

# With fewer the temperature is that of chance.
FEWEST_IMAGES = 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """What a calibration found. `print(calibration)` shows it.

    The numbers after it are of the images that chose the temperature; as it is a single
    number, they are hardly better than those of other images.

    Args:
        temperature: What the logits were divided by: above 1 the model was too sure of
            itself, below 1 not sure enough.
        images: Number of images it was chosen on.
        log_loss_before: Mean of `-log(probability of the right class)`, in nats, before.
        log_loss: The same after.
        calibration_error_before: Mean distance of accuracy and confidence over 15 bins
            (Guo et al. 2017), 0..1, before.
        calibration_error: The same after.
    """

    temperature: float
    images: int
    log_loss_before: float
    log_loss: float
    calibration_error_before: float
    calibration_error: float

    def __str__(self) -> str:
        return (
            f"temperature {self.temperature:.3f}, from {self.images:,} images: log loss "
            f"{self.log_loss_before:.4f} before, {self.log_loss:.4f} after; calibration "
            f"error {self.calibration_error_before:.1%} before, "
            f"{self.calibration_error:.1%} after"
        )


def calibrate(
    model: Classifier,
    validation: Data,
    *,
    batch_size: int = 32,
    on_error: OnError = "raise",
) -> Calibration:
    """Makes a model's probabilities mean what they say, on images it was not trained on.

    Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599): all logits are
    divided by the number that gives the validation images the lowest log loss. The
    division is written into the last Dense layer: the model has no further layer, and is
    saved, loaded and exported as before. Which class is the most probable does not change.

    The model also keeps how probable the right classes of these images were, so that
    `predict(..., coverage=0.95)` can name sets of classes. That is at the temperature
    before, which knows nothing of their labels: so the coverage holds exactly.

    Calibrate last. Training goes on from the calibrated weights, but the running averages
    of an optimizer such as Adam are those of the weights before, and what it learns is not
    calibrated: call `calibrate` again. A threshold is taken away, as it was chosen for
    other probabilities.

    Args:
        model: A `Classifier`. Its last layer is changed.
        validation: As in `evaluate`: images like those to come, which neither trained the
            model nor chose its epoch or penalty. A few hundred give a good temperature.
        batch_size: Images in a batch.
        on_error: As in `evaluate`.

    Returns:
        A `Calibration`. All in all a temperature is within 0.2 to 20; the log says if it
        would be beyond, as below if every image is called right.

    Raises:
        DataError: If there are fewer than 10 images. Also as in `evaluate`.
        ValueError: If an argument is out of range.

    Example:

    >>> validation = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> found = kr.calibrate(model, validation)
    >>> found.images, found.log_loss <= found.log_loss_before
    (30, True)
    >>> prediction = kr.predict(model, "photo.jpg", coverage=0.9)[0]
    >>> prediction.label in prediction.labels
    True
    """
    check_classifier(model)
    report = evaluate(model, validation, batch_size=batch_size, on_error=on_error)
    if len(report) < FEWEST_IMAGES:
        raise DataError(
            f"{count_of(len(report), 'image')} cannot tell how sure the model may be: "
            f"expected at least {FEWEST_IMAGES}, better a few hundred. The model is as it "
            "was."
        )
    labels, before = report.labels, report.probabilities
    held = current(model)
    total = 1.0 if held is None else held.temperature
    temperature = best_temperature(
        labels,
        before,
        lowest=LOWEST_TEMPERATURE / total,
        highest=HIGHEST_TEMPERATURE / total,
    )
    _report_threshold(model.threshold)
    _report_zeros(labels, before)
    _fold(model, temperature)
    model.certainty = Certainty(
        fingerprint(model.weights),
        temperature=total * temperature,
        images=len(labels),
        chances=kept_chances(labels, before_temperature(before, total)),
    )
    after = softmax(log_probabilities(before) / temperature, axis=1)
    return Calibration(
        temperature=temperature,
        images=len(labels),
        log_loss_before=float(log_loss(labels, before)[0]),
        log_loss=float(log_loss(labels, after)[0]),
        calibration_error_before=float(calibration_error(labels, before)[0]),
        calibration_error=float(calibration_error(labels, after)[0]),
    )


def best_temperature(
    labels: Pixels,
    probabilities: Pixels,
    *,
    lowest: float = LOWEST_TEMPERATURE,
    highest: float = HIGHEST_TEMPERATURE,
) -> float:
    """Returns the temperature of the lowest log loss, exact to about 1e-12.

    The log loss is convex in `1 / temperature`: where its slope is 0, it is lowest.

    Args:
        labels: Integers of shape `(N,)`.
        probabilities: Of shape `(N, classes)`, of which the logits are taken.
        lowest: The least that is returned.
        highest: The largest that is returned.

    Returns:
        A temperature; 1 if all probabilities are equal, so that none changes anything.
    """
    logits = log_probabilities(probabilities)
    own = logits[np.arange(len(labels)), labels]
    if not np.ptp(logits, axis=1).any():
        return 1.0

    def slope(sharpness: float) -> float:
        chances = softmax(logits * sharpness, axis=1)
        return float(np.mean(np.einsum("nc,nc->n", chances, logits) - own))

    for temperature, sign in ((lowest, -1), (highest, 1)):
        if sign * slope(1 / temperature) >= 0:
            _report_bound(temperature, bool((own == logits.max(axis=1)).all()))
            return temperature
    found = brentq(slope, 1 / highest, 1 / lowest, xtol=1e-13, rtol=1e-13)
    return 1 / float(found)


def _report_bound(temperature: float, all_right: bool) -> None:
    why = "the log loss would fall further beyond"
    if all_right:
        why = "every image is called right, so that no temperature is low enough"
    _log.warning(
        "The temperature is %.4g, the last that is allowed: %s. More images, or harder "
        "ones, would tell more.",
        temperature,
        why,
    )


def _report_threshold(threshold: float | None) -> None:
    if threshold is not None:
        _log.warning(
            "The threshold, %.4g, is taken away: it was chosen for the probabilities before. "
            "kr.choose_threshold finds another.",
            threshold,
        )


def _report_zeros(labels: Pixels, probabilities: Pixels) -> None:
    zeros = int(np.sum(probabilities[np.arange(len(labels)), labels] == 0))
    if zeros:
        _log.warning(
            "%d of %d images have a probability of 0 of the right class, which does not say "
            "how wrong the model is: the temperature is too low. Train with a lower learning "
            "rate, or calibrate again.",
            zeros,
            len(labels),
        )


def _fold(model: Classifier, temperature: float) -> None:
    head = model.get_layer("predictions")
    for weight in (head.kernel, head.bias):
        exact = keras.ops.convert_to_numpy(weight).astype("float64") / temperature
        weight.assign(exact.astype("float32"))
