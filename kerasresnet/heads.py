"""`sweep_heads`: many heads trained at once on the same features; which is best?

How they are trained and ranked is decided in `candidates`.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kerasresnet.balance import ClassWeight, Sampling, check_balance, class_weights
from kerasresnet.building import backbone_layers
from kerasresnet.caching import Cache
from kerasresnet.candidates import Candidate, Candidates, Ranking, all_candidates
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.compiling import compile_classifier
from kerasresnet.division import OnError
from kerasresnet.errors import DivergenceError, count_of, listing
from kerasresnet.extraction import Verbosity
from kerasresnet.features import FeatureSource
from kerasresnet.feeding import FeedSettings
from kerasresnet.freezing import compile_settings, set_trainable
from kerasresnet.inputs import Data, Inputs, class_counts, take_names
from kerasresnet.intervals import wilson_interval
from kerasresnet.precision import Precision, check_precision
from kerasresnet.preparing import check_epochs
from kerasresnet.sentinels import watched_inputs

_TITLES = (
    "hidden units",
    "dropout",
    "rate",
    "accuracy",
    "95 % interval",
    "loss",
    "epoch",
    "parameters",
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadScore:
    """How good one head of a sweep was in its best epoch.

    A head whose loss was never finite has NaN for all scores, and epoch 0.

    Args:
        hidden_units: Widths of its Dense layers before the last one.
        dropout: Share of values dropped before each Dense layer, in [0, 1).
        learning_rate: Adam's rate.
        accuracy: Validation accuracy, 0..1.
        interval: The 95 % interval of the accuracy, `(low, high)`, after Wilson (1927).
        loss: Mean cross-entropy of the validation images, in nats.
        epoch: Number of its best epoch, from 1.
        parameters: Number of its weights.
    """

    hidden_units: tuple[int, ...]
    dropout: float
    learning_rate: float
    accuracy: float
    interval: tuple[float, float]
    loss: float
    epoch: int
    parameters: int


@dataclass(frozen=True, eq=False, repr=False)
class HeadSweep:
    """The result of `sweep_heads`. `print(sweep)` shows it as a table.

    Args:
        candidates: All heads, the best first.
        model: A `Classifier` with the best head.
        images: Number of validation images.
    """

    candidates: tuple[HeadScore, ...]
    model: Classifier
    images: int

    @property
    def best(self) -> HeadScore:
        """The head with the best validation accuracy; of several, the lowest loss."""
        return self.candidates[0]

    def __repr__(self) -> str:
        return (
            f"HeadSweep({count_of(len(self.candidates), 'head')}, "
            f"best accuracy {self.best.accuracy:.4f})"
        )

    def __str__(self) -> str:
        columns = list(zip(*[_TITLES, *map(_cells, self.candidates)], strict=True))
        widths = [max(map(len, column)) for column in columns]
        rows = [
            "  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True))
            for row in zip(*columns, strict=True)
        ]
        return "\n".join([*rows, "", *self._remarks()])

    def _remarks(self) -> list[str]:
        lines = [f"Measured on {count_of(self.images, 'validation image')}."]
        low = self.best.interval[0]
        near = sum(score.interval[1] >= low for score in self.candidates)
        if near > 1:
            lines.append(
                f"The intervals of the first {near} overlap with that of the first: such "
                "differences are no more than chance."
            )
        return lines


def sweep_heads(  # noqa: PLR0913 - the public contract
    model: Classifier,
    train: Data,
    validation: Data,
    *,
    hidden_units: Iterable[Sequence[int]] = ((), (256,)),
    learning_rates: Iterable[float] = (1e-3, 3e-3),
    dropout: Iterable[float] = (0.0, 0.5),
    epochs: int = 20,
    batch_size: int = 32,
    class_weight: ClassWeight | None = None,
    sampling: Sampling | None = None,
    cache: Cache = "auto",
    precision: Precision = "auto",
    on_error: OnError = "raise",
    seed: int = 0,
    verbose: Verbosity = "auto",
) -> HeadSweep:
    """Trains heads of all combinations of settings at once, and ranks them.

    The network before the head is computed once for each photo; an epoch of all heads is
    one pass over its features. Each head is trained by itself, with Adam and plain
    cross-entropy whatever the model was compiled with, and gives the same result as in a
    sweep of its own: first weights and dropout depend on `seed` and its own settings. Its
    weights are those of its best epoch.

    The best head goes into `HeadSweep.model`: into `model` itself if that has the same
    hidden units and dropout, else into a new `Classifier` on the same network, and
    `model` is left as it was; the log tells. There its head alone is trainable, and it is
    compiled with a fresh optimizer at the head's rate: as `model` was, or with Adam.

    The best of many is better on the images it was chosen by than on others. Keep test
    images apart, and score `HeadSweep.model` on them with `evaluate`.

    Args:
        model: A `Classifier`.
        train: As in `fit`.
        validation: The same, by which heads are ranked.
        hidden_units: For each head the widths of its Dense layers before the last one.
        learning_rates: Adam's rates.
        dropout: Shares of values dropped before each Dense layer, in [0, 1).
        epochs: Number of passes over `train`.
        batch_size: Images in a batch. A `Dataset` keeps its own size.
        class_weight: As in `fit`.
        sampling: As in `fit`.
        cache: Where features are kept, as in `fit`; False for this call. Of a `Dataset`
            they are always those of one pass.
        precision: What convolutions compute in, as in `fit`. Heads are float32.
        on_error: As in `fit`.
        seed: Decides first weights, dropout and the order of the training images.
        verbose: As in Keras. The loss is the sum over all heads.

    Returns:
        A `HeadSweep`: the heads by validation accuracy, those with the same by loss.

    Raises:
        CacheError: If the cache folder cannot be written or the disk is full.
        DataError: If the data does not fit the model, or a photo cannot be read.
        DivergenceError: If the loss of no head is finite. The model is as before then.
        ValueError: If an argument is out of range, there are more than 200 combinations,
            or `validation` is None.

    Example:

    >>> train, validation = kr.ImageData.from_folder("flower_photos").split(0.2)
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> sweep = kr.sweep_heads(model, train, validation, epochs=2, verbose=0)
    >>> len(sweep.candidates)
    8
    >>> sweep.best.hidden_units in ((), (256,))
    True
    >>> len(sweep.model.trainable_weights) // 2 - len(sweep.best.hidden_units)
    1
    """
    check_classifier(model)
    asked = all_candidates(hidden_units, dropout, learning_rates)
    settings = FeedSettings(batch_size, None, cache, seed, verbose, sampling)
    _check_run(model, validation, epochs)
    settings.check(train)
    check_precision(precision)
    check_balance(class_weight, sampling)
    inputs = watched_inputs(model, train, validation, on_error)
    weights = class_weights(class_weight, class_counts(inputs, class_weight))
    source = FeatureSource(
        model,
        "avg_pool",
        batch_size=batch_size,
        cache=cache,
        precision=precision,
        verbose=verbose,
    )
    examples = source.labelled(inputs.train)
    held_out = source.labelled(inputs.validation)
    heads = Candidates(asked, examples.rows, len(inputs.class_names), seed)
    ranking = Ranking(heads.layers, held_out)
    heads.fit(examples, epochs, settings, weights, ranking)
    return _result(model, inputs, heads, ranking)


def _check_run(model: Classifier, validation: Any, epochs: Any) -> None:
    if validation is None:
        raise ValueError(
            "validation is needed, since heads are ranked by it, received None. "
            "data.split(0.2) gives training and validation data."
        )
    check_epochs(epochs)
    if model.compiled:
        compile_settings(model)  # may refuse, which it must before the slow work


def _result(
    model: Classifier, inputs: Inputs, heads: Candidates, ranking: Ranking
) -> HeadSweep:
    order = sorted(
        range(len(heads.asked)), key=ranking.scores.__getitem__, reverse=True
    )
    scores = tuple(_score(heads, ranking, number) for number in order)
    lost = [heads.asked[number] for number in order if not ranking.epochs[number]]
    if len(lost) == len(order):
        raise DivergenceError(
            "Training diverged: the loss of no head was finite after an epoch. Try lower "
            f"learning_rates than {listing(each.learning_rate for each in lost)}."
        )
    if lost:
        found = listing(lost)
        _log.warning("%d of %d heads diverged: %s.", len(lost), len(order), found)
    best = order[0]
    ranking.snapshots[best].restore()
    trained = _with_head(model, inputs, heads.asked[best], heads.layers[best])
    return HeadSweep(scores, trained, ranking.images)


def _score(heads: Candidates, ranking: Ranking, number: int) -> HeadScore:
    accuracy, loss = math.nan, math.nan
    interval = (math.nan, math.nan)
    if ranking.epochs[number]:
        accuracy, loss = ranking.scores[number][0], -ranking.scores[number][1]
        interval = wilson_interval(round(accuracy * ranking.images), ranking.images)
    parameters = sum(layer.count_params() for layer in heads.layers[number])
    return HeadScore(
        *heads.asked[number],
        accuracy=accuracy,
        interval=interval,
        loss=loss,
        epoch=ranking.epochs[number],
        parameters=int(parameters),
    )


def _with_head(
    model: Classifier, inputs: Inputs, candidate: Candidate, dense: Sequence[Any]
) -> Classifier:
    """The model with a head, ready to be trained on: itself, or a new one."""
    rate = candidate.learning_rate
    compiled = compile_settings(model, learning_rate=rate) if model.compiled else None
    target = _shaped(model, candidate)
    names = [f"hidden_{i}" for i in range(1, len(dense))]
    for name, layer in zip([*names, "predictions"], dense, strict=True):
        target.get_layer(name).set_weights(layer.get_weights())
    take_names(target, inputs)
    set_trainable(target, None)
    if compiled is None:
        compile_classifier(target, learning_rate=rate)
    else:
        target.compile(**compiled)
    return target


def _shaped(model: Classifier, candidate: Candidate) -> Classifier:
    """The model if it has the shape of a head, else a copy that has."""
    config = model.get_config()
    own = (tuple(config["hidden_units"]), config["dropout"])
    if own == candidate[:2]:
        _log.info("The best head is now the model's: %s.", candidate)
        return model
    _log.info(
        "The best head, %s, is in a new model, HeadSweep.model. The model that was given "
        "has hidden_units=%s, dropout=%s, and is left as it was.",
        candidate,
        *own,
    )
    shape = {"hidden_units": candidate.hidden_units, "dropout": candidate.dropout}
    # What was found of how sure its answers are holds for its own head.
    copy = type(model).from_config({**config, **shape, "certainty": None})
    for layer in backbone_layers(model):
        copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _cells(score: HeadScore) -> tuple[str, ...]:
    """What a head's row of the table says."""
    lost = not score.epoch
    low, high = score.interval
    return (
        " ".join(map(str, score.hidden_units)) or "none",
        f"{score.dropout:g}",
        f"{score.learning_rate:g}",
        "diverged" if lost else f"{score.accuracy:.1%}",
        "-" if lost else f"{low:.1%} to {high:.1%}",
        "-" if lost else f"{score.loss:.4f}",
        "-" if lost else str(score.epoch),
        f"{score.parameters:,}",
    )
