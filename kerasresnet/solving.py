"""L2-regularised multinomial logistic regression, along a path of penalties.

Numbers in, numbers out: what the features are of, and which penalty is the best, is not
decided here.

The protocol is that of Kornblith et al., "Do Better ImageNet Models Transfer Better?"
(https://arxiv.org/abs/1805.08974, appendix) and of SimCLR (https://arxiv.org/abs/
2002.05709, B.8): L-BFGS on the softmax cross-entropy of all images, no augmentation,
penalties that are evenly spaced on a log scale, each solution the start of the next.

What is minimised, over a kernel `W` and a bias `b` that is not penalised:

    mean over images of  -log softmax(z @ W + b)[label]  +  penalty / 2 * sum(W ** 2)
    z = (features - their mean) / scale
    scale = root of the mean squared distance of the features from their mean

Neither paper says that features are scaled. One scale for all of them leaves the
geometry, and thereby the path of solutions, as it is: it only says in which unit a
penalty is given, so that one range of penalties serves every network. (To divide each
feature by a deviation of its own, which is not done here, would change the solutions.)
To centre changes nothing, as the bias is free.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import OptimizeResult, minimize

from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError
from kerasresnet.solutions import Solution, check_rows, check_weights, log_loss
from kerasresnet.threads import few_threads

_log = logging.getLogger(__name__)
_MOST_ITERATIONS = 1000
# Multiplications for the axes from which on all threads are taken: 4,096 images with
# 2,048 features. They are many short steps, in which threads often wait for each other.
_LONG_PREPARATION = 2**34
_ABSENT = 1e-7  # the probability that Keras clips at, keras.config.epsilon()
_NO_SLOPE = 1e-9  # less than this is no slope at all, on features of mean square 1


@dataclass(frozen=True)
class _Problem:
    """Scaled features in the axes of their covariance, and a last column of ones."""

    rows: Pixels
    squares: Pixels  # mean square of each column
    labels: Pixels
    shares: Pixels  # weights of the images, sum 1
    axes: Pixels
    centre: Pixels
    scale: float
    classes: int
    present: Pixels  # the classes that have images; `labels` are positions in it


@dataclass(frozen=True)
class _Point:
    """Kernel and bias, `(classes, columns)`, and what the objective is there."""

    theta: Pixels
    loss: float
    gradient: float
    curvature: float
    iterations: int = 0


def default_penalties(count: int = 20) -> tuple[float, ...]:
    """Returns penalties from 1 to 1e-7, the strongest first, evenly spaced in the log.

    On scaled features the first leaves little more than the shares of the classes, and
    the last separates all that can be separated.

    Args:
        count: How many, at least 2.

    Returns:
        Penalties for `solve_path`.

    Raises:
        ValueError: If `count` is less than 2.

    Example:

    >>> from kerasresnet.solving import default_penalties
    >>> default_penalties(2)
    (1.0, 1e-07)
    """
    if count < 2:
        raise ValueError(f"count must be at least 2, received {count}.")
    return tuple(float(penalty) for penalty in np.logspace(0, -7, count))


def solve_path(
    features: Pixels,
    labels: Pixels,
    *,
    classes: int,
    penalties: Sequence[float],
    weights: Pixels | None = None,
    tolerance: float = 1e-3,
) -> tuple[Solution, ...]:
    """Returns the logistic regression for each penalty.

    Solved from the strongest penalty to the weakest, whatever order they come in, each
    from where the two before point to. The features are rotated into the axes of their
    covariance, where L-BFGS takes few iterations; with no more images than features
    these axes span the images only. Both are exact. In float64; the same input gives the
    same bits on the same machine.

    A class without an image has no finite solution, as its bias falls for ever. It gets
    a kernel of 0 and a bias that gives it a probability of at most 1e-7 on every image
    here; `loss` is that of the other classes.

    Args:
        features: `(N, D)`, finite.
        labels: `(N,)`, whole numbers from 0 to `classes - 1`.
        classes: Number of classes, at least 2.
        penalties: Positive; see the module and `default_penalties`.
        weights: `(N,)`, at least 0; an image of weight 2 counts as two images. None is 1
            for each.
        tolerance: Largest `Solution.gradient`. The default leaves the loss right to about
            six digits; below about 1e-6 rounding may end the search first.

    Returns:
        A `Solution` for each penalty, in the order of the penalties.

    Raises:
        DataError: If features, labels or weights are not as above.
        ValueError: If another argument is not.

    Example:

    >>> from kerasresnet.solutions import probabilities
    >>> from kerasresnet.solving import solve_path
    >>> features, labels = (
    ...     np.array([[0.0], [1.0], [2.0], [3.0]]),
    ...     np.array([0, 0, 1, 1]),
    ... )
    >>> weak, strong = solve_path(features, labels, classes=2, penalties=[1e-4, 1e4])
    >>> probabilities(weak, features).round(2)[:, 1].tolist()
    [0.0, 0.0, 1.0, 1.0]
    >>> probabilities(strong, features).round(2)[:, 1].tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    _check_choices(classes, penalties, tolerance)
    features, labels = check_rows(features, labels, classes)
    weights = check_weights(weights, labels)
    with few_threads(features.size * min(features.shape), _LONG_PREPARATION):
        problem = _prepare(features, labels, weights, classes)
    found: dict[float, _Point] = {}
    with few_threads(problem.rows.size * len(problem.present)):
        for penalty in sorted({float(one) for one in penalties}, reverse=True):
            start = _start(problem, found, penalty)
            found[penalty] = _minimise(problem, penalty, start, tolerance)
        solutions = {
            penalty: _solution(problem, penalty, point, tolerance)
            for penalty, point in found.items()
        }
    _report_short(found, tolerance)
    return tuple(solutions[float(penalty)] for penalty in penalties)


def fold_paths(
    features: Pixels,
    labels: Pixels,
    folds: Pixels,
    *,
    classes: int,
    penalties: Sequence[float],
    weights: Pixels | None = None,
    tolerance: float = 1e-3,
) -> Pixels:
    """Returns the log loss of each fold, for each penalty, solved on the other folds.

    Args:
        features: As in `solve_path`, and so are the arguments not named here.
        labels: As in `solve_path`.
        folds: `(N,)`, the number of the fold that an image is held out in.
        classes: Number of classes.
        penalties: One column of the result each.
        weights: Of the images, where they are solved for and where they are scored.
        tolerance: Largest `Solution.gradient`.

    Returns:
        `(folds, penalties)`, in nats, a row for each fold in ascending order.

    Raises:
        DataError: If there are not two folds at least, or as in `solve_path`.
        ValueError: As in `solve_path`.
    """
    features, labels = check_rows(features, labels, classes)
    weights, folds = check_weights(weights, labels), np.asarray(folds)
    names = np.unique(folds)
    if folds.shape != labels.shape or len(names) < 2:
        raise DataError(
            f"Expected the fold of each of {len(labels):,} images, and two folds at "
            f"least; received shape {folds.shape} and {len(names)} folds."
        )
    options: Any = {"classes": classes, "penalties": penalties, "tolerance": tolerance}
    losses = []
    for out in (folds == name for name in names):
        path = solve_path(
            features[~out], labels[~out], weights=weights[~out], **options
        )
        scored = features[out], labels[out]
        losses.append([log_loss(one, *scored, weights=weights[out]) for one in path])
    return np.array(losses)


def _check_choices(classes: int, penalties: Sequence[float], tolerance: float) -> None:
    if classes < 2:
        raise ValueError(f"classes must be at least 2, received {classes}.")
    if not len(penalties) or not all(0 < one < np.inf for one in penalties):
        raise ValueError(
            f"Expected penalties that are positive and finite, received {penalties}. "
            "default_penalties() gives some."
        )
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be in 0..1, received {tolerance}.")


def _prepare(
    features: Pixels, labels: Pixels, weights: Pixels, classes: int
) -> _Problem:
    counted = weights > 0
    present, labels = np.unique(labels[counted], return_inverse=True)
    shares = weights[counted] / weights.sum()
    centred = features[counted].astype(np.float64)
    centre = shares @ centred
    centred -= centre
    scale = float(np.sqrt(shares @ np.einsum("ij,ij->i", centred, centred)))
    if scale <= 1e-12 * np.linalg.norm(centre):
        scale = 1.0  # rows that are all the same, but for the rounding of their mean
    centred /= scale
    axes = _axes(centred, shares)
    rows = np.ones((len(labels), axes.shape[1] + 1))
    np.matmul(centred, axes, out=rows[:, :-1])
    squares = np.einsum("i,ij,ij->j", shares, rows, rows)
    return _Problem(
        rows, squares, labels, shares, axes, centre, scale, classes, present
    )


def _axes(centred: Pixels, shares: Pixels) -> Pixels:
    """Principal axes of the rows, `(D, min(N, D))`, orthonormal; they span all rows."""
    count, width = centred.shape
    if count < width:
        # The minimum is in the span of the rows: what W has outside is only penalised.
        span, triangle = np.linalg.qr(centred.T)
        return span @ _axes(triangle.T, shares)
    weighted = np.sqrt(shares)[:, None] * centred
    # "evr" takes a quarter of the time of numpy.linalg.eigh at 2,048 features.
    return eigh(weighted.T @ weighted, driver="evr", overwrite_a=True)[1]


def _start(problem: _Problem, found: dict[float, _Point], penalty: float) -> Pixels:
    """Where the last two solutions point to; at first, the shares of the classes."""
    if not found:
        counts = np.bincount(problem.labels, weights=problem.shares)
        theta = np.zeros((len(counts), problem.rows.shape[1]))
        theta[:, -1] = np.log(counts) - np.log(counts).mean()
        return theta
    *before, last = list(found)[-2:]
    theta = found[last].theta
    if not before:
        return theta
    step = np.log(penalty / last) / np.log(last / before[0])
    return theta + min(step, 1.0) * (theta - found[before[0]].theta)


def _evaluate(
    problem: _Problem, penalty: float, theta: Pixels
) -> tuple[_Point, Pixels]:
    """What the objective is at a point, and its slope there."""
    images, kernel = np.arange(len(problem.labels)), theta[:, :-1]
    logits = theta @ problem.rows.T
    logits -= logits.max(axis=0)
    own = logits[problem.labels, images]
    chances = np.exp(logits, out=logits)
    total = chances.sum(axis=0)
    chances /= total
    sure = problem.shares @ np.einsum("cn,cn->n", chances, chances)
    loss = problem.shares @ (np.log(total) - own)
    chances[problem.labels, images] -= 1
    chances *= problem.shares
    slope = chances @ problem.rows
    slope[:, :-1] += penalty * kernel
    pull = penalty * float(np.linalg.norm(kernel))
    point = _Point(
        theta,
        loss=float(loss + penalty / 2 * np.vdot(kernel, kernel)),
        gradient=float(np.linalg.norm(slope)) / max(pull, _NO_SLOPE),
        curvature=float(1 - sure) / max(len(theta) - 1, 1),
    )
    return point, slope


def _minimise(
    problem: _Problem, penalty: float, theta: Pixels, tolerance: float
) -> _Point:
    """Runs L-BFGS in coordinates in which the curvature is about the same everywhere."""
    first, slope = _evaluate(problem, penalty, theta)
    if first.gradient <= tolerance:
        return first
    # The Hessian of the mean softmax, (diag(p) - p p') x z z', with a number for the
    # first factor: its mean eigenvalue here. (Boehning 1992 takes the largest there is.)
    metric = max(first.curvature, 1e-12) * problem.squares
    metric[:-1] += penalty
    metric = np.sqrt(metric)
    # SciPy's first step has length 1: so that it is Newton's, the slope gets length 1.
    length = float(np.linalg.norm(slope / metric))
    start = (theta * metric / length).ravel()
    latest = [first]

    def value(x: Pixels) -> tuple[float, Pixels]:
        moved = x.reshape(theta.shape) * length / metric
        again = np.array_equal(x, start)
        point, steep = (first, slope) if again else _evaluate(problem, penalty, moved)
        latest[0] = point
        return point.loss / length**2, (steep / metric / length).ravel()

    def stop(intermediate_result: OptimizeResult) -> None:
        if latest[0].gradient <= tolerance:
            raise StopIteration

    options: dict[str, Any] = {"maxiter": _MOST_ITERATIONS, "ftol": 0.0, "gtol": 0.0}
    end = minimize(
        value, start, jac=True, method="L-BFGS-B", callback=stop, options=options
    )
    if latest[0].gradient > tolerance:
        value(end.x)
    return replace(latest[0], iterations=int(end.nit))


def _report_short(found: dict[float, _Point], tolerance: float) -> None:
    short = {key: one for key, one in found.items() if one.gradient > tolerance}
    if short:
        _log.warning(
            "%d of %d logistic regressions did not converge to a tolerance of %.1e: up to "
            "%.1e, for penalties from %.1e.",
            len(short),
            len(found),
            tolerance,
            max(one.gradient for one in short.values()),
            min(short),
        )


def _solution(
    problem: _Problem, penalty: float, point: _Point, tolerance: float
) -> Solution:
    """The solution on features as they were given, and for all classes."""
    kernel = np.zeros((len(problem.centre), problem.classes))
    bias = np.zeros(problem.classes)
    some = problem.present
    kernel[:, some] = problem.axes @ point.theta[:, :-1].T / problem.scale
    bias[some] = point.theta[:, -1] - problem.centre @ kernel[:, some]
    if len(some) < problem.classes:
        logits = point.theta @ problem.rows.T
        lowest = np.logaddexp.reduce(logits, axis=0).min()
        bias[np.setdiff1d(np.arange(problem.classes), some)] = lowest + np.log(_ABSENT)
    return Solution(
        penalty,
        kernel,
        bias,
        loss=point.loss,
        gradient=point.gradient,
        converged=point.gradient <= tolerance,
        iterations=point.iterations,
    )
