"""The heads of a sweep: which they are, how all are trained at once, which is best.

They are the outputs of one Keras model on one input, so that an epoch of all is one pass
over the features.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from kerasresnet.caching import FeatureRows
from kerasresnet.decoding import Pixels
from kerasresnet.errors import listing
from kerasresnet.features import LabelledRows
from kerasresnet.feeding import FeedSettings
from kerasresnet.inputs import integer_labels
from kerasresnet.keeping import Snapshot
from kerasresnet.options import check_head
from kerasresnet.pipeline import feature_batches

# All are in memory at once, with Adam's moments, and make one graph.
_MOST = 200
_SCORED_AT_A_TIME = 1024
_NEVER = (float("-inf"), float("-inf"))


class Candidate(NamedTuple):
    """The settings of one head, as in `sweep_heads`."""

    hidden_units: tuple[int, ...]
    dropout: float
    learning_rate: float

    def __str__(self) -> str:
        """Returns the settings as they are passed."""
        return (
            f"hidden_units={self.hidden_units}, dropout={self.dropout}, "
            f"learning_rate={self.learning_rate}"
        )


def all_candidates(
    hidden_units: Any, dropout: Any, learning_rates: Any
) -> tuple[Candidate, ...]:
    """Returns all combinations of settings.

    Args:
        hidden_units: As in `sweep_heads`.
        dropout: As in `sweep_heads`.
        learning_rates: As in `sweep_heads`.

    Raises:
        ValueError: If one is out of range or twice there, or they are more than 200.
    """
    widths = _column("hidden_units", hidden_units, "((), (256,))")
    if not all(map(_is_listed, widths)):
        raise ValueError(
            "hidden_units must hold a sequence of widths for each head, received "
            f"{hidden_units!r}. Pass ((256,),) for one head with a hidden layer of 256."
        )
    widths = [tuple(units) for units in widths]
    shares = _column("dropout", dropout, "(0.0, 0.5)")
    rates = _column("learning_rates", learning_rates, "(1e-3, 3e-3)")
    numbers = all(isinstance(rate, Real) for rate in rates)
    if not numbers or not all(0 < rate < math.inf for rate in rates):
        raise ValueError(f"learning_rates must be positive numbers, received {rates}.")
    if not all(isinstance(share, Real) for share in shares):
        raise ValueError(
            f"dropout must hold shares, at least 0 and below 1, received {shares}."
        )
    for units, share in itertools.product(widths, shares):
        check_head(units, share, "avg")
    found = [
        Candidate(tuple(map(int, units)), float(share), float(rate))
        for units, share, rate in itertools.product(widths, shares, rates)
    ]
    _check_number(found)
    return tuple(found)


def _column(name: str, values: Any, example: str) -> list[Any]:
    if not _is_listed(values):
        raise ValueError(
            f"{name} must be a sequence, received {values!r}. Pass one such as "
            f"{example}: all combinations are trained."
        )
    listed = list(values)
    if not listed:
        raise ValueError(
            f"{name} is empty, so that there is no head to train. Pass at least one "
            f"value, such as {example}."
        )
    return listed


def _is_listed(values: Any) -> bool:
    return isinstance(values, Iterable) and not isinstance(values, str)


def _check_number(asked: Sequence[Candidate]) -> None:
    if len(asked) > _MOST:
        raise ValueError(
            f"These are {len(asked):,} combinations, more than the {_MOST} that are "
            "trained at once. Pass fewer values, or sweep in steps."
        )
    twice = [each for each, count in Counter(asked).items() if count > 1]
    if twice:
        raise ValueError(
            f"The same head is asked for twice: {listing(twice)}. Pass each value once."
        )


class Candidates:
    """Heads as one model, from features to logits `(N, heads, classes)`.

    Each is trained as it would be alone: its first weights and its dropout depend on the
    seed and its own settings.

    Args:
        asked: Which heads.
        rows: The features that they are trained on.
        classes: Number of classes.
        seed: Decides first weights and dropout.
    """

    def __init__(
        self,
        asked: Sequence[Candidate],
        rows: FeatureRows,
        classes: int,
        seed: int,
    ) -> None:
        self.asked = asked
        self.layers: list[list[Any]] = []
        rates = list(dict.fromkeys(each.learning_rate for each in asked))
        features = keras.Input(rows.shape, dtype=rows.dtype.name, name="features")
        logits = []
        for number, each in enumerate(asked):
            name = f"rate_{rates.index(each.learning_rate)}_head_{number}"
            values, dense = _head(features, each, classes, name, seed)
            logits.append(values)
            self.layers.append(dense)
        self._model = keras.Model({"features": features}, ops.stack(logits, axis=1))
        optimizer = _optimizer(rates)
        optimizer.build(self._model.trainable_variables)
        self._model.compile(optimizer=optimizer, loss=_SumOfHeads())

    def fit(
        self,
        examples: LabelledRows,
        epochs: int,
        settings: FeedSettings,
        class_weight: dict[int, float] | None,
        ranking: "Ranking",
    ) -> None:
        """Trains all heads.

        Args:
            examples: The training images.
            epochs: Number of passes over them.
            settings: How their batches are made.
            class_weight: For each class number its weight, or None.
            ranking: What notes how good they are.
        """
        labels: Any = examples.labels
        if examples.weights:
            labels = (labels, *examples.weights)
        batches = feature_batches(
            examples.rows,
            labels,
            batch_size=examples.batch_size,
            training=True,
            sampling=settings.sampling,
            seed=settings.seed,
        )
        self._model.fit(
            batches,
            epochs=epochs,
            callbacks=[ranking],
            class_weight=class_weight,
            verbose=settings.verbose,
            shuffle=False,  # the batches come shuffled
        )


def _head(
    values: Any, candidate: Candidate, classes: int, name: str, seed: int
) -> tuple[Any, list[Any]]:
    """The logits of a head on some features, and its Dense layers.

    Its random numbers depend on nothing but the seed and its widths: heads that differ in
    rate or dropout begin with the same weights.
    """
    dense = []
    widths = candidate.hidden_units
    for number, units in enumerate((*widths, classes), 1):
        own = np.random.SeedSequence((seed, number, *widths)).generate_state(2) >> 1
        if candidate.dropout:
            values = layers.Dropout(
                candidate.dropout,
                seed=int(own[1]),
                dtype="float32",
                name=f"{name}_dropout_{number}",
            )(values)
        dense.append(
            layers.Dense(
                units,
                activation="relu" if number <= len(widths) else None,
                kernel_initializer=keras.initializers.GlorotUniform(int(own[0])),
                dtype="float32",
                name=f"{name}_dense_{number}",
            )
        )
        values = dense[-1](values)
    return values, dense


def _optimizer(rates: Sequence[float]) -> keras.optimizers.Optimizer:
    # Adam works on each weight by itself, so that heads of one rate can share it.
    each = [keras.optimizers.Adam(rate) for rate in rates]
    if len(each) == 1:
        return each[0]
    patterns = {f"rate_{i}_.*": optimizer for i, optimizer in enumerate(each)}
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(each[0], patterns)
    )


class _SumOfHeads(keras.losses.Loss):
    """The cross-entropies of all heads in sum: none has a part in another's gradient."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each image, `(N,)`, of logits `(N, heads, classes)`."""
        rows = y_true
        if len(rows.shape) == 1:
            rows = ops.one_hot(ops.cast(rows, "int32"), y_pred.shape[-1])
        return -ops.sum(rows[:, None] * ops.log_softmax(y_pred, axis=-1), axis=(1, 2))


class Ranking(keras.callbacks.Callback):
    """Keeps each head's weights of its best epoch, and how good it was.

    `scores` are pairs of accuracy and negative loss, `epochs` count from 1; a head whose
    loss was never finite has epoch 0.

    Args:
        heads: The Dense layers of each head.
        held_out: The validation images.
    """

    def __init__(self, heads: Sequence[Sequence[Any]], held_out: LabelledRows) -> None:
        super().__init__()
        self._rows = held_out.rows
        self._labels = integer_labels(held_out.labels)
        self.images = len(self._labels)
        self.snapshots = [
            Snapshot([weight for layer in dense for weight in layer.weights])
            for dense in heads
        ]
        self.scores = [_NEVER] * len(heads)
        self.epochs = [0] * len(heads)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Scores all heads."""
        accuracies, losses = self._measured()
        for number, score in enumerate(zip(accuracies, -losses, strict=True)):
            if math.isfinite(score[1]) and score > self.scores[number]:
                self.scores[number] = (float(score[0]), float(score[1]))
                self.epochs[number] = epoch + 1
                self.snapshots[number].take()
        if logs is not None:
            logs["best_val_accuracy"] = max(0.0, max(self.scores)[0])

    def _measured(self) -> tuple[Pixels, Pixels]:
        """Validation accuracy and loss of each head."""
        hits = np.zeros(len(self.scores))
        losses = np.zeros(len(self.scores))
        for start in range(0, self.images, _SCORED_AT_A_TIME):
            chosen = np.arange(start, min(start + _SCORED_AT_A_TIME, self.images))
            features = self._rows.batch(chosen, np.zeros_like(chosen))
            logits = self.model.predict_on_batch({"features": features})
            right, sums = _sums(logits.astype("float64"), self._labels[chosen])
            hits, losses = hits + right, losses + sums
        return hits / self.images, losses / self.images


def _sums(logits: Pixels, labels: Pixels) -> tuple[Pixels, Pixels]:
    """Number of right answers, and sum of the losses, of each head."""
    hits = (logits.argmax(axis=-1) == labels[:, None]).sum(axis=0)
    own = logits[np.arange(len(labels)), :, labels]
    with np.errstate(invalid="ignore"):  # of a head that has diverged
        return hits, (np.logaddexp.reduce(logits, axis=-1) - own).sum(axis=0)
