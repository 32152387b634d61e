"""What is kept of a model while it is trained: its history, and its weights at their best."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasresnet.decoding import Pixels

_log = logging.getLogger(__name__)


class Snapshot:
    """The values of some weights, to be brought back.

    Args:
        weights: Keras variables.
        values: For each an array. Defaults to the present values.
    """

    def __init__(
        self,
        weights: Sequence[keras.Variable],
        values: Sequence[Pixels] | None = None,
    ) -> None:
        self._weights = list(weights)
        self.values: list[Pixels] = list(values or ())
        if values is None:
            self.take()

    def take(self) -> None:
        """Keeps the present values instead."""
        self.values = [ops.convert_to_numpy(weight) for weight in self._weights]

    def restore(self) -> None:
        """Gives the weights the values that were kept."""
        for weight, value in zip(self._weights, self.values, strict=True):
            weight.assign(value)


class ContinuousHistory(keras.callbacks.History):
    """Keras's `History`, which goes on when `fit` is called again."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Keeps what it has; Keras's own forgets the numbers of the epochs."""
        del logs

    @property
    def done(self) -> int:
        """Number of epochs so far."""
        return len(self.epoch)

    def bring_back(
        self, history: Mapping[str, Sequence[float]], epochs: Sequence[int]
    ) -> None:
        """Takes over what another run has had."""
        self.history = {name: list(values) for name, values in history.items()}
        self.epoch = list(epochs)

    def forget_last(self) -> None:
        """Takes the last epoch away again."""
        del self.epoch[-1:]
        for values in self.history.values():
            del values[-1:]


class Best(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best validation accuracy.

    Of several epochs with the same accuracy that with the lowest loss; without an
    accuracy among the metrics, the loss alone.

    Args:
        weights: Keras variables, all that will be trained.
    """

    def __init__(self, weights: Sequence[keras.Variable]) -> None:
        super().__init__()
        self._snapshot = Snapshot(weights)
        self._start: tuple[float, float] | None = None
        self._score: tuple[float, float] | None = None
        self.epoch: int | None = None

    def begin(self, scores: Mapping[str, float]) -> None:
        """Notes how good the model is before it is trained.

        Args:
            scores: What `model.evaluate(…, return_dict=True)` returned.
        """
        logs = {f"val_{name}": value for name, value in scores.items()}
        self._start = self._score = _score(logs)
        self._snapshot.take()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keeps the weights if they are the best so far."""
        score = _score(logs or {})
        if score is not None and (self._score is None or score > self._score):
            self._score, self.epoch = score, epoch
            self._snapshot.take()

    @property
    def before(self) -> float | None:
        """Validation accuracy before the model was trained, 0..1, if it is known."""
        return _accuracy_of(self._start)

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy of the weights that are kept, 0..1, if it is known."""
        return _accuracy_of(self._score)

    @property
    def values(self) -> list[Pixels]:
        """The weights that are kept."""
        return self._snapshot.values

    @property
    def notes(self) -> dict[str, Any]:
        """All else that is known, as JSON holds it."""
        return {"start": self._start, "score": self._score, "epoch": self.epoch}

    def bring_back(self, values: Sequence[Pixels], notes: Mapping[str, Any]) -> None:
        """Takes over what another run has kept.

        Args:
            values: Its `values`.
            notes: Its `notes`.
        """
        self._snapshot.values = list(values)
        start, score = notes["start"], notes["score"]
        self._start = None if start is None else (start[0], start[1])
        self._score = None if score is None else (score[0], score[1])
        self.epoch = notes["epoch"]

    def restore(self) -> None:
        """Gives the model the weights that were kept."""
        self._snapshot.restore()

    def report(self) -> None:
        """Says in the log which weights were kept, and whether that was an improvement."""
        before = "" if self.before is None else f" of {self.before:.1%}"
        if self._score is None:
            return
        if self.epoch is None:
            _log.warning(
                "Fine-tuning did not improve on the validation accuracy%s that the model had "
                "before: its weights are those again.",
                before,
            )
        elif self.before is not None and self.accuracy == self.before:
            _log.warning(
                "Fine-tuning did not improve on the validation accuracy%s that the model had "
                "before, only on the loss. The weights are those of epoch %d.",
                before,
                self.epoch + 1,
            )
        else:
            _log.info("The weights are those of epoch %d, the best.", self.epoch + 1)


def _accuracy_of(score: tuple[float, float] | None) -> float | None:
    return None if score is None or np.isinf(score[0]) else score[0]


def _score(logs: Mapping[str, Any]) -> tuple[float, float] | None:
    accuracy, loss = logs.get("val_accuracy"), logs.get("val_loss")
    if accuracy is None and loss is None:
        return None
    return (
        float("-inf") if accuracy is None else float(accuracy),
        float("-inf") if loss is None or np.isnan(loss) else -float(loss),
    )
