"""When the state of a training run is taken, and what of Keras belongs to it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from kerasresnet.backends import sync
from kerasresnet.decoding import Pixels
from kerasresnet.keeping import Snapshot

State: TypeAlias = tuple[Mapping[str, Pixels], Mapping[str, Any]]

# So much work within an epoch may be lost to a kill; its end is written anyway.
_SECONDS = 60.0


@dataclass(frozen=True)
class Standing:
    """Where a course stands: all of it that is not an array.

    Args:
        number: Number of the round.
        first: Number of the epoch in which the round began.
        begun: Whether something was trained in the round.
        batch: Number of batches that the epoch under way has had.
        retries: How often the round was begun again.
        accuracy: Validation accuracy before the round.
    """

    number: int = 0
    first: int = 0
    begun: bool = False
    batch: int = 0
    retries: int = 0
    accuracy: float | None = None


class Recorder(keras.callbacks.Callback):
    """Takes the state at the end of each epoch, and now and then within one.

    Args:
        save: Takes a state.
        state: Makes one of weights, optimizer and where the run stands.
        weights: Keras variables, all that is trained.
        steps: Number of batches in an epoch; 0 takes no state within one.
    """

    def __init__(
        self,
        save: Callable[[State], None],
        state: Callable[..., State],
        weights: Sequence[keras.Variable],
        steps: int,
    ) -> None:
        super().__init__()
        self._steps = steps
        self._save = save
        self._state = state
        self._weights = list(weights)
        self._held: tuple[Snapshot, list[Pixels]] | None = None
        self._saved = time.monotonic()
        self.skipped = 0
        # The first callback sees the weights before averages are put in their place.
        self.early = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self._take()
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Takes the state within an epoch, if the last was taken a while ago."""
        del logs
        done = batch + 1 + self.skipped
        # After the last batch there is nothing to go on with; the epoch ends now.
        if time.monotonic() - self._saved < _SECONDS or done >= self._steps:
            return
        sync(self.model)
        self._take()
        self._write(batch=done, metrics=metric_values(self.model))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Takes the state of a whole epoch, but the last; the history has it by now.

        After the last, Keras may still put averages in the place of the weights, and an
        epoch that is undone is a last one, too.
        """
        del logs
        self.skipped = 0
        if epoch + 1 < self.params["epochs"] and not self.model.stop_training:
            self._write()
        self._held = None

    def _take(self) -> None:
        variables = self.model.optimizer.variables
        optimizer = [ops.convert_to_numpy(each) for each in variables]
        self._held = Snapshot(self._weights), optimizer

    def _write(self, **where: Any) -> None:
        if self._held is not None:
            self._save(self._state(*self._held, **where))
            self._held = None
            self._saved = time.monotonic()


def flat_arrays(held: Mapping[str, Sequence[Pixels]]) -> dict[str, Pixels]:
    """Returns lists of arrays, each under a name, as one dictionary of arrays."""
    return {
        f"{kind}/{number}": array
        for kind, arrays in held.items()
        for number, array in enumerate(arrays)
    }


def arrays_of(arrays: Mapping[str, Pixels], kind: str) -> list[Pixels]:
    """Returns one of the lists that `flat_arrays` was given."""
    count = sum(name.startswith(f"{kind}/") for name in arrays)
    return [arrays[f"{kind}/{number}"] for number in range(count)]


def build_metrics(model: keras.Model, batches: Any, classes: int) -> None:
    """Has a model make the variables of its loss and metrics, before it sees a batch.

    Else Keras's `fit` makes them, and on JAX and torch begins a pass over the batches for
    that: the first epoch would have the order of the second.

    Args:
        model: A compiled model.
        batches: The `tf.data.Dataset` that it will be trained on.
        classes: Number of its classes.
    """
    spec = batches.element_spec[1]
    if spec.shape.rank is None:
        return
    labels = np.zeros([size or 1 for size in spec.shape], spec.dtype.as_numpy_dtype)
    chances = np.full((len(labels), classes), 1 / classes, "float32")
    model.compute_loss(y=labels, y_pred=chances)
    model.compute_metrics(None, labels, chances)
    model.reset_metrics()


def metric_values(model: keras.Model) -> list[Pixels]:
    """Returns what a model's metrics have summed up in the epoch so far."""
    return [ops.convert_to_numpy(each) for each in _metric_variables(model)]


def set_metrics(model: keras.Model, values: Sequence[Pixels]) -> None:
    """Gives a model's metrics what they had summed up."""
    if values:
        Snapshot(_metric_variables(model), values).restore()


def _metric_variables(model: keras.Model) -> list[keras.Variable]:
    return [each for metric in model.metrics for each in metric.variables]
