"""Nested cross-validation of the exact linear probe: nothing held out has a say.

Images in, probabilities out; what they tell is counted in `validating` and
`learning_curves`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from kerasresnet.balance import ClassWeight, check_balance, class_weights
from kerasresnet.caching import check_cache
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError
from kerasresnet.errors import DataError, listing
from kerasresnet.features import FeatureSource
from kerasresnet.images import ImageData
from kerasresnet.inputs import Data, integer_labels
from kerasresnet.penalties import check_folds, fold_rule, tried_penalties
from kerasresnet.pixels import check_batch_size
from kerasresnet.precision import check_precision
from kerasresnet.sentinels import watched_inputs
from kerasresnet.solutions import Solution, log_loss, probabilities
from kerasresnet.solving import solve_path

# So that all but two parts still hold one, or all but three of four.
_LEAST_OF_CLASS = 4
# What was solved without some parts: a solution for each penalty, and class weights.
_Solved: TypeAlias = dict[frozenset[int], tuple[tuple[Solution, ...], Pixels]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Table:
    """Features and labels of images, and where they are held out.

    Args:
        features: `(N, D)`.
        labels: `(N,)`, class numbers.
        parts: `(N,)`; the number of an image's fold is that of its part modulo `k`.
        k: Number of folds.
        class_names: In label order.
        sources: Where each image is from.
    """

    features: Pixels
    labels: Pixels
    parts: Pixels
    k: int
    class_names: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Method:
    """How a head is solved.

    Args:
        penalties: Those to choose from.
        class_weight: As in `fit`.
    """

    penalties: tuple[float, ...]
    class_weight: ClassWeight | None

    def path(
        self, table: Table, rows: Pixels, penalties: Sequence[float]
    ) -> tuple[tuple[Solution, ...], Pixels]:
        """Returns a solution for each penalty, and the weight of each class.

        Args:
            table: All images.
            rows: Which of them are solved for, booleans `(N,)`.
            penalties: In any order.
        """
        labels = table.labels[rows]
        counts = np.bincount(labels, minlength=len(table.class_names)).tolist()
        named = dict(zip(table.class_names, counts, strict=True))
        found = class_weights(self.class_weight, named) or {}
        weights = np.array([found.get(label, 1.0) for label in range(len(counts))])
        path = solve_path(
            table.features[rows],
            labels,
            classes=len(counts),
            penalties=penalties,
            weights=weights[labels],
        )
        return path, weights


def checked_method(
    model: Classifier, k: Any, penalties: Any, class_weight: ClassWeight | None
) -> Method:
    """Returns how heads are solved, and says so if the model's own is another kind.

    Args:
        model: A `Classifier`.
        k: As in `cross_validate`, and so are the others.
        penalties: As in `probe`.
        class_weight: As in `fit`.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_classifier(model)
    check_balance(class_weight, None)
    check_folds("k", k)
    method = Method(tried_penalties(penalties), class_weight)
    hidden = model.get_config()["hidden_units"]
    if hidden:
        _log.warning(
            "The model has hidden units, %s: what is validated is a linear head on its "
            "features, not this one.",
            hidden,
        )
    return method


def tabulated(
    model: Classifier,
    data: Data,
    method: Method,
    k: int,
    *,
    on_error: OnError,
    seed: int,
    **computing: Any,
) -> Table:
    """Returns the features of data, divided into folds.

    Args:
        model: A `Classifier`.
        data: All images, as in `fit`.
        method: How heads will be solved.
        k: Number of folds.
        on_error: As in `fit`.
        seed: Decides the folds.
        **computing: `batch_size`, `cache`, `precision` and `verbose`, as in `fit`.

    Raises:
        DataError: If the data does not fit the model, there are fewer pictures than
            folds, or images of one class only.
        ValueError: If an argument is out of range.
    """
    check_batch_size(computing["batch_size"])
    check_cache(computing["cache"])
    check_precision(computing["precision"])
    inputs = watched_inputs(model, data, None, on_error)
    # Refuses classes that are not there before the slow work.
    class_weights(method.class_weight, dict.fromkeys(inputs.class_names, 1))
    # Two folds leave one to choose the penalty in: it is divided, too.
    rule = fold_rule(inputs.train, k if k > 2 else 4, seed)
    found = FeatureSource(model, "avg_pool", **computing).labelled(inputs.train)
    labels = integer_labels(found.labels)
    parts = rule(labels)
    _check_classes(labels, inputs.class_names, k)
    sources = tuple(f"image {i}" for i in range(len(labels)))
    if isinstance(inputs.train, ImageData):
        sources = inputs.train.sources
    features = found.rows.table()
    return Table(features, labels, parts, k, inputs.class_names, sources)


def _check_classes(labels: Pixels, names: Sequence[str], k: int) -> None:
    images = np.bincount(labels, minlength=len(names))
    if np.count_nonzero(images) < 2:
        raise DataError(
            f"All {len(labels):,} images are of one class; a classifier needs images of "
            "at least two. Add images of another class."
        )
    few = [f"{names[i]} ({images[i]})" for i in range(len(names)) if 0 < images[i] < k]
    if few:
        _log.warning(
            "Fewer images than the %d folds: %s. Not every fold has one of them, and what "
            "is found for them says little.",
            k,
            listing(few),
        )


def held_out(
    table: Table, method: Method, taken: Pixels
) -> tuple[Pixels, tuple[float, ...]]:
    """Returns probabilities of each image by a head that was solved without its fold.

    The inner folds of a fold are the other parts, so that what is solved without two
    parts serves the folds of both: k (k - 1) / 2 paths instead of k (k - 1).

    Args:
        table: All images.
        method: How a head is solved.
        taken: Which images may be trained on, and choose the penalty, booleans `(N,)`.

    Returns:
        A tuple `(probabilities, penalties)`: `(N, C)`, and what each fold chose.
    """
    scores = np.zeros((len(taken), len(table.class_names)))
    solved: _Solved = {}
    chosen = []
    for fold in range(table.k):
        out = table.parts % table.k == fold
        losses = [
            _inner_losses(table, method, taken, out, part, solved)
            for part in np.unique(table.parts[taken & ~out]).tolist()
        ]
        best = method.penalties[int(np.sum(losses, axis=0).argmin())]
        # From the strongest on, as each solution is the start of the next.
        path, _ = method.path(
            table, taken & ~out, [one for one in method.penalties if one >= best]
        )
        found = next(one for one in path if one.penalty == best)
        scores[out] = probabilities(found, table.features[out])
        chosen.append(best)
    return scores, tuple(chosen)


def _inner_losses(
    table: Table,
    method: Method,
    taken: Pixels,
    out: Pixels,
    part: int,
    solved: _Solved,
) -> list[float]:
    """Log loss of a part for each penalty, solved without it and without what is out."""
    without = frozenset([part, *np.unique(table.parts[out]).tolist()])
    if without not in solved:
        rows = taken & ~np.isin(table.parts, list(without))
        solved[without] = method.path(table, rows, method.penalties)
    path, weights = solved[without]
    inner = taken & (table.parts == part)
    features, labels = table.features[inner], table.labels[inner]
    if not weights[labels].any():
        return [0.0] * len(path)
    return [log_loss(one, features, labels, weights=weights[labels]) for one in path]


def by_fold(values: Pixels, folds: Pixels, k: int) -> tuple[float, ...]:
    """Returns the mean of some values, one for each image, for each of `k` folds."""
    return tuple(float(values[folds == fold].mean()) for fold in range(k))


def turns(table: Table, seed: int) -> Pixels:
    """Returns for each image its rank in its class, from 0; the parts take turns.

    Args:
        table: All images.
        seed: Decides the ranks.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.random(len(table.labels))
    ranks = np.zeros(len(drawn), "int64")
    for label in np.unique(table.labels):
        members = np.flatnonzero(table.labels == label)
        parts = table.parts[members]
        first = rng.permutation(int(table.parts.max()) + 1)[parts]
        order = np.lexsort((drawn[members], parts))
        starts = np.searchsorted(parts[order], parts[order], side="left")
        rounds = np.empty(len(members), "int64")
        rounds[order] = np.arange(len(members)) - starts
        ranks[members[np.lexsort((first, rounds))]] = np.arange(len(members))
    return ranks


def first_of(table: Table, ranks: Pixels, share: float) -> Pixels:
    """Returns which images are the first of their classes, booleans `(N,)`.

    Args:
        table: All images.
        ranks: As `turns` gives them.
        share: How many of each class, 0..1, but at least four.
    """
    images = np.bincount(table.labels, minlength=len(table.class_names))
    wanted = np.maximum(np.round(share * images).astype("int64"), _LEAST_OF_CLASS)
    return ranks < wanted[table.labels]
