"""The exact linear probe: the best head without hidden units, in seconds.

Its mathematics is in `solving`; here are its features, the choice of the penalty, and the
way of the solution into the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasresnet.balance import ClassWeight, check_balance, class_weights
from kerasresnet.caching import Cache, check_cache
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError
from kerasresnet.extraction import Verbosity
from kerasresnet.features import FeatureSource
from kerasresnet.inputs import (
    Data,
    Inputs,
    class_counts,
    integer_labels,
    take_names,
)
from kerasresnet.intervals import wilson_interval
from kerasresnet.penalties import (
    check_folds,
    fold_rule,
    report_edges,
    tried_penalties,
)
from kerasresnet.pixels import check_batch_size
from kerasresnet.precision import Precision, check_precision
from kerasresnet.sentinels import watched_inputs
from kerasresnet.solutions import Solution, log_loss, probabilities
from kerasresnet.solving import fold_paths, solve_path


@dataclass(frozen=True)
class Probe:
    """How a linear probe came out. `print(probe)` shows it.

    Args:
        penalty: The penalty that was chosen, the one with the lowest loss.
        penalties: All that were tried.
        losses: For each the log loss on images that it was not solved on, in nats.
        accuracy: Share of those that it calls right, 0..1, with the chosen penalty; None
            after cross-validation.
        accuracy_interval: Its 95 % interval (Wilson 1927), or None.
        images: Number of images that it was solved on.
        folds: Number of folds of the cross-validation; 0 if there was validation data.
    """

    penalty: float
    penalties: tuple[float, ...]
    losses: tuple[float, ...]
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    images: int
    folds: int

    @property
    def loss(self) -> float:
        """Log loss with the chosen penalty, in nats."""
        return self.losses[self.penalties.index(self.penalty)]

    def __str__(self) -> str:
        how = f"{self.folds} folds" if self.folds else "validation data"
        line = (
            f"linear probe on {self.images:,} images: penalty {self.penalty:.2g} of "
            f"{len(self.penalties)}, chosen by {how}; log loss {self.loss:.3f}"
        )
        if self.accuracy is None or self.accuracy_interval is None:
            return line
        low, high = self.accuracy_interval
        return f"{line}, accuracy {self.accuracy:.1%} ({low:.1%} to {high:.1%})"


def probe(  # noqa: PLR0913 - the public contract
    model: Classifier,
    train: Data,
    validation: Data | None = None,
    *,
    penalties: Sequence[float] | None = None,
    folds: int = 5,
    class_weight: ClassWeight | None = None,
    batch_size: int = 32,
    cache: Cache = "auto",
    precision: Precision = "auto",
    on_error: OnError = "raise",
    seed: int = 0,
    verbose: Verbosity = "auto",
) -> Probe:
    """Solves the head of a model: the exact linear classifier on pooled features.

    L2-regularised multinomial logistic regression by L-BFGS, for each of a sweep of
    penalties, after Kornblith et al. 2019 (https://arxiv.org/abs/1805.08974) and SimCLR
    (https://arxiv.org/abs/2002.05709, B.8). There is no learning rate and no number of
    epochs; the same data gives the same head. It is the answer for small data, a start
    for `fine_tune`, and what that has to beat.

    The solution is written into the model's last layer, so that the model itself gives
    the probe's probabilities: to about 1e-6 if features are computed in float32, to about
    1 % in bfloat16.

    Args:
        model: A `Classifier` without hidden units. Its head is changed.
        train: As in `fit`.
        validation: The same; chooses the penalty, by the lowest log loss. Without it,
            cross-validation on `train` does.
        penalties: Weights of half the squared norm of the kernel, on features scaled to a
            mean square of 1, against the mean loss of an image. Defaults to 20, evenly
            spaced in the log from 1 to 1e-7.
        folds: Number of folds of the cross-validation, at least 2. Images of the same
            picture stay together.
        class_weight: As in `fit`.
        batch_size: Images whose features are computed at a time.
        cache: As in `fit`.
        precision: As in `fit`.
        on_error: As in `fit`.
        seed: Decides the folds.
        verbose: As in Keras.

    Returns:
        A `Probe`.

    Raises:
        CacheError: If the cache folder cannot be written or the disk is full.
        DataError: If the data does not fit the model, or a photo cannot be read.
        ValueError: If the model has hidden units, or an argument is out of range.

    Example:

    >>> train, validation = kr.ImageData.from_folder("flower_photos").split(0.2)
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> found = kr.probe(model, train, validation, verbose=0)
    >>> len(found.penalties), found.folds
    (20, 0)
    """
    check_classifier(model)
    _check(model, batch_size, precision, cache)
    check_folds("folds", folds)
    check_balance(class_weight, None)
    tried = tried_penalties(penalties)
    inputs = watched_inputs(model, train, validation, on_error)
    return solve_head(
        model,
        inputs,
        penalties=tried,
        folds=folds,
        class_weight=class_weight,
        batch_size=batch_size,
        cache=cache,
        precision=precision,
        seed=seed,
        verbose=verbose,
    )


def solve_head(  # noqa: PLR0913 - all that `probe` is told
    model: Classifier,
    inputs: Inputs,
    *,
    penalties: Sequence[float] | None = None,
    folds: int = 5,
    class_weight: ClassWeight | None = None,
    batch_size: int = 32,
    cache: Cache = "auto",
    precision: Precision = "auto",
    seed: int = 0,
    verbose: Verbosity = "auto",
) -> Probe:
    """Does what `probe` does, on data that is checked.

    Args:
        model: A `Classifier` without hidden units. It is changed.
        inputs: Checked data.
        penalties: As in `probe`, like all below.
        folds: As in `probe`.
        class_weight: As in `probe`.
        batch_size: As in `probe`.
        cache: As in `probe`.
        precision: As in `probe`.
        seed: As in `probe`.
        verbose: As in `probe`.

    Returns:
        A `Probe`.
    """
    tried = tried_penalties(penalties)
    counts = class_counts(inputs, class_weight)
    weights = class_weights(class_weight, counts) or {}
    source = FeatureSource(
        model,
        "avg_pool",
        batch_size=batch_size,
        cache=cache,
        precision=precision,
        verbose=verbose,
    )
    rule = fold_rule(inputs.train, folds, seed) if inputs.validation is None else None
    features, labels = _columns(source, inputs.train)
    solved: dict[str, Any] = {
        "classes": len(inputs.class_names),
        "penalties": tried,
        "weights": np.array([weights.get(int(label), 1.0) for label in labels]),
    }
    path = solve_path(features, labels, **solved)
    score = None
    if rule is not None:
        losses = fold_paths(features, labels, rule(labels), **solved).mean(axis=0)
    else:
        held_out = _columns(source, inputs.validation)
        losses = np.array([log_loss(each, *held_out) for each in path])
        score = _score(path[int(losses.argmin())], *held_out)
    best = int(losses.argmin())
    report_edges(tried, tried[best : best + 1])
    take_names(model, inputs)
    _write(model, path[best])
    return _result(tried, losses, score, images=len(labels), folds=folds)


def _result(
    tried: tuple[float, ...],
    losses: Pixels,
    score: tuple[int, int] | None,
    *,
    images: int,
    folds: int,
) -> Probe:
    """What came of it; the score is the number of hits and of held-out images."""
    return Probe(
        penalty=tried[int(losses.argmin())],
        penalties=tried,
        losses=tuple(losses.tolist()),
        accuracy=None if score is None else score[0] / score[1],
        accuracy_interval=None if score is None else wilson_interval(*score),
        images=images,
        folds=0 if score else folds,
    )


def _columns(source: FeatureSource, data: Any) -> tuple[Pixels, Pixels]:
    """Features, float32 `(N, D)`, and labels, integers `(N,)`."""
    found = source.labelled(data)
    return found.rows.table(), integer_labels(found.labels)


def _check(
    model: Classifier, batch_size: int, precision: Precision, cache: Cache
) -> None:
    hidden = model.get_config()["hidden_units"]
    if hidden:
        raise ValueError(
            f"The probe solves a head without hidden units; the model has {hidden}. "
            "Build it with hidden_units=(), or train the head with fit."
        )
    check_batch_size(batch_size)
    check_precision(precision)
    check_cache(cache)


def _score(solution: Solution, features: Pixels, labels: Pixels) -> tuple[int, int]:
    predicted = probabilities(solution, features).argmax(axis=1)
    return int(np.sum(predicted == labels)), len(labels)


def _write(model: Classifier, solution: Solution) -> None:
    head = model.get_layer("predictions")
    head.kernel.assign(solution.kernel.astype("float32"))
    head.bias.assign(solution.bias.astype("float32"))
