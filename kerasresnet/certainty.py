"""How sure a model's answers are: what was measured of it, and with which weights.

`calibration` and `abstention` measure it, `prediction` uses it, `Classifier` saves it.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

from kerasresnet.decoding import Pixels

UNKNOWN = "unknown"
# Beyond them a probability in float32 no longer tells what it was before the temperature.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.2, 20.0

# What is left of the smallest float32 at the lowest temperature is less: so every chance
# is the same number, whether it was measured before the temperature or after.
_LEAST_CHANCE = math.exp(-16)
_MOST_KEPT = 1000
# More than what another batch size or device changes in a probability.
_ROUNDING = 1e-4
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Certainty:
    """What was measured of a model, for the weights that it had.

    Args:
        weights: Fingerprint of these weights.
        temperature: What the logits have been divided by, all in all.
        images: Number of images that calibrated it; 0 if none did.
        chances: Probabilities of these images' own classes, at temperature 1, ascending;
            of more than 1,000 images some, at `kept_ranks`.
        threshold: Probability from which on an answer is given, or None for always.
    """

    weights: str
    temperature: float = 1.0
    images: int = 0
    chances: tuple[float, ...] = ()
    threshold: float | None = None

    def to_config(self) -> dict[str, Any]:
        """Returns it in types that JSON has."""
        return {**asdict(self), "chances": list(self.chances)}

    @classmethod
    def from_config(cls, config: dict[str, Any] | None) -> "Certainty | None":
        """Returns what `to_config` was called on; None of models that have none."""
        if config is None:
            return None
        return cls(**{**config, "chances": tuple(config["chances"])})

    def least_chance(self, coverage: float) -> float:
        """Returns the probability at temperature 1 from which on a class is in the set.

        Split conformal prediction with the score `1 - probability` (Sadinle et al. 2019,
        https://arxiv.org/abs/1609.00451).

        Args:
            coverage: Share of the sets that shall hold the right class, in (0, 1).

        Returns:
            A number in 0..1; 0, which all classes reach, if there are too few images.
        """
        # Of what rounding makes of a whole number, the next one must not be taken.
        rank = self.images + 1 - math.ceil((self.images + 1) * coverage - 1e-9)
        if rank < 1:
            return 0.0
        place = np.searchsorted(kept_ranks(self.images), rank, side="right") - 1
        return self.chances[place] * (1 - _ROUNDING)


def kept_ranks(images: int) -> Pixels:
    """Returns at which ranks, from 1, chances are kept: all, or about 1,000 of them.

    Each is one more than the last or about 1 %, so that the sets of many images are hardly
    larger than they need to be, and never smaller.
    """
    if images <= _MOST_KEPT:
        return np.arange(1, images + 1)
    return np.unique(np.geomspace(1, images, _MOST_KEPT).astype("int64"))


def kept_chances(labels: Pixels, chances: Pixels) -> tuple[float, ...]:
    """Returns what `Certainty.chances` holds.

    Args:
        labels: Integers of shape `(N,)`.
        chances: What `before_temperature` returned of the images.
    """
    own = np.sort(chances[np.arange(len(labels)), labels])
    return tuple(own[kept_ranks(len(own)) - 1].tolist())


def before_temperature(probabilities: Pixels, temperature: float) -> Pixels:
    """Returns the probabilities that a model gave before its logits were divided.

    Args:
        probabilities: Of shape `(N, classes)`.
        temperature: What the logits were divided by.

    Returns:
        A float64 array of the same shape, at least 1.1e-7.
    """
    logits = log_probabilities(probabilities) * temperature
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return np.maximum(chances, _LEAST_CHANCE)


def log_probabilities(probabilities: Pixels) -> Pixels:
    """Returns the logarithms, float64, of 0 that of the smallest float32."""
    least = float(np.finfo("float32").tiny)
    return np.log(np.maximum(np.asarray(probabilities, np.float64), least))


def prediction_sets(
    certainty: Certainty, probabilities: Pixels, coverage: float
) -> Pixels:
    """Returns which classes are in the sets, bools of shape `(N, classes)`.

    The most probable class always is, which can only raise the coverage.

    Args:
        certainty: Of the model.
        probabilities: Of shape `(N, classes)`.
        coverage: As in `predict`.
    """
    least = certainty.least_chance(coverage)
    if not least:
        _log.warning(
            "A coverage of %g is sure only if every set holds all classes: the model was "
            "calibrated on %d images, and at least %d are needed.",
            coverage,
            certainty.images,
            math.ceil(coverage / (1 - coverage) - 1e-9),
        )
    chances = before_temperature(probabilities, certainty.temperature)
    inside = chances >= least
    inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
    return inside


def fingerprint(weights: Iterable[Any]) -> str:
    """Returns what changes when a weight does.

    The sum of the bits of each weight: of ResNet50 in 20 ms, where SHA-256 takes 90. It
    would not notice values that change places, which training does not do.
    """
    sums = []
    for weight in weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        sums.append(int(values.view(f"u{values.itemsize}").sum(dtype="uint64")))
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def current(model: Any) -> Certainty | None:
    """Returns a model's `Certainty` if it was measured with the weights it has now."""
    held: Certainty | None = model.certainty
    if held is None or held.weights != fingerprint(model.weights):
        return None
    return held


def with_threshold(model: Any, threshold: float | None) -> Certainty | None:
    """Returns a model's `Certainty` with another threshold.

    Args:
        model: A `Classifier`.
        threshold: A probability, or None.

    Raises:
        ValueError: If it is no probability, or a class has the name `"unknown"`.
    """
    if threshold is None:
        held: Certainty | None = model.certainty
        return None if held is None else replace(held, threshold=None)
    if not 0 <= threshold <= 1:
        raise ValueError(
            f"threshold must be a probability in 0..1, or None for no threshold, received "
            f"{threshold}."
        )
    check_unknown(model.class_names)
    held = current(model)
    if held is None:
        held = Certainty(fingerprint(model.weights))
    return replace(held, threshold=float(threshold))


def check_unknown(class_names: Sequence[str]) -> None:
    """Raises a `ValueError` if a class has the name of what is not answered."""
    if UNKNOWN in class_names:
        raise ValueError(
            f"A class is called {UNKNOWN!r}, which is what a model with a threshold answers "
            "when it is not sure: nobody could tell the two apart. Give the class another "
            "name: model.class_names = [...]."
        )


def check_certainty(model: Any, coverage: float | None) -> Certainty | None:
    """Returns what `predict` needs to know, or None if it needs nothing.

    Args:
        model: A `Classifier`.
        coverage: As in `predict`.

    Raises:
        ValueError: If `coverage` is no share, nothing was measured, or the weights have
            changed since.
    """
    if coverage is not None and not 0 < coverage < 1:
        raise ValueError(
            f"coverage must be a share between 0 and 1, received {coverage}."
        )
    held: Certainty | None = model.certainty
    if coverage is None and (held is None or held.threshold is None):
        return None
    if coverage is not None and (held is None or not held.images):
        raise ValueError(
            "coverage= needs to know how sure the model is on images it was not trained on. "
            "Call kr.calibrate(model, validation) first."
        )
    if current(model) is None:
        raise ValueError(
            "The model's weights have changed since kr.calibrate or kr.choose_threshold "
            "measured how sure its answers are. Call them again; or take the threshold away "
            "with model.threshold = None, and predict without coverage."
        )
    return held
