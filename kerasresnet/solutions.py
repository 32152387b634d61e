"""Solutions of a logistic regression: what they are, and what they say of images.

Numbers in, numbers out. How they are found is in `solving`.
"""

from dataclasses import dataclass

import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError
from kerasresnet.threads import few_threads


@dataclass(frozen=True)
class Solution:
    """Where the objective is least, for one penalty.

    Args:
        penalty: The weight of `sum(W ** 2) / 2`, on scaled features.
        kernel: `(D, C)`, float64. `softmax(features @ kernel + bias)` are the
            probabilities: centre and scale of the features are folded in.
        bias: `(C,)`, float64.
        loss: The objective, in nats, penalty included.
        gradient: Norm of the objective's gradient as a share of the norm of its penalty's
            part, `penalty * W`, which the other part cancels at the minimum. As the
            objective is strongly convex, the kernel is within about this share of the
            exact one, mostly far nearer.
        converged: Whether `gradient` is at most the tolerance.
        iterations: Of L-BFGS.
    """

    penalty: float
    kernel: Pixels
    bias: Pixels
    loss: float
    gradient: float
    converged: bool
    iterations: int


def probabilities(solution: Solution, features: Pixels) -> Pixels:
    """Returns the softmax of a solution's logits, float64 `(N, C)`, rows of sum 1."""
    return np.exp(_log_softmax(solution, features))


def log_loss(
    solution: Solution,
    features: Pixels,
    labels: Pixels,
    *,
    weights: Pixels | None = None,
) -> float:
    """Returns the mean cross-entropy of images, in nats, without the penalty.

    Args:
        solution: One of `solve_path`.
        features: `(N, D)`, such as those of images held out.
        labels: `(N,)`.
        weights: `(N,)`, as in `solve_path`.

    Raises:
        DataError: As in `solve_path`.
    """
    features, labels = check_rows(features, labels, len(solution.bias))
    own = _log_softmax(solution, features)[np.arange(len(labels)), labels]
    return -float(np.average(own, weights=check_weights(weights, labels)))


def check_rows(features: Pixels, labels: Pixels, classes: int) -> tuple[Pixels, Pixels]:
    """Returns features and labels as arrays, or raises DataError, see `log_loss`."""
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim != 2 or not features.size or features.dtype.kind not in "iuf":
        raise DataError(
            f"Expected features of shape (N, D), received {features.dtype} "
            f"{features.shape}."
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad):,} of {len(features):,} rows of features are not finite, the "
            f"first is {bad[0]}. Look at these images, or compute in float32."
        )
    if labels.shape != (len(features),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"Expected a whole number as label of each of {len(features):,} rows, "
            f"received {labels.dtype} {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"Labels of {classes} classes are 0 to {classes - 1}, received "
            f"{labels.min()} to {labels.max()}."
        )
    return features, labels


def check_weights(weights: Pixels | None, labels: Pixels) -> Pixels:
    """Returns the weights of images as an array, or raises DataError."""
    if weights is None:
        return np.ones(len(labels))
    weights = np.asarray(weights, np.float64)
    if weights.shape != labels.shape or not np.isfinite(weights).all():
        raise DataError(
            f"Expected a finite weight for each of {len(labels):,} images, received "
            f"shape {weights.shape}."
        )
    if weights.min() < 0 or not weights.any():
        raise DataError(
            f"Weights must not be negative, nor all 0; the least is {weights.min()}."
        )
    return weights


def _log_softmax(solution: Solution, features: Pixels) -> Pixels:
    features = np.asarray(features, np.float64)
    with few_threads(features.size * len(solution.bias)):
        logits = features @ solution.kernel
    logits += solution.bias
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
