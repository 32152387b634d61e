"""How the rate follows a schedule while a round is trained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from kerasresnet.backends import sync
from kerasresnet.compiling import optimizers_of
from kerasresnet.schedules import Schedule, make_schedule


@contextmanager
def paced(
    optimizer: keras.optimizers.Optimizer,
    schedule: Schedule,
    warmup: float | None,
    *,
    epochs: int,
    steps: int,
    first: int,
) -> Iterator[list[keras.callbacks.Callback]]:
    """Gives the callbacks that change the rate; afterwards the optimizer has its own.

    The rate follows from the number of the step alone, so that a run that goes on later
    has the same.

    Args:
        optimizer: Its rate is the peak.
        schedule: As in `fit`.
        warmup: As in `fit`.
        epochs: Number of epochs from the beginning of the schedule to its end.
        steps: Number of batches in an epoch.
        first: Number of the epoch in which the schedule begins.
    """
    if schedule == "constant" and not warmup:
        yield []
        return
    optimizers = optimizers_of(optimizer)
    rates = [float(each.learning_rate) for each in optimizers]
    plan = make_schedule(schedule, 1.0, steps=epochs * steps, warmup=warmup)
    try:
        yield [_Pace(plan, list(zip(optimizers, rates, strict=True)), steps, first)]
    finally:
        for each, rate in zip(optimizers, rates, strict=True):
            each.learning_rate = rate


class _Pace(keras.callbacks.Callback):
    """Sets the rate before each batch, and writes it into the history."""

    def __init__(
        self,
        plan: Any,
        optimizers: Sequence[tuple[keras.optimizers.Optimizer, float]],
        steps: int,
        first: int,
    ) -> None:
        super().__init__()
        self._plan = plan
        self._optimizers = optimizers
        self._steps = steps
        self._first = self._epoch = first
        # Of the first batch in an epoch that is gone on with.
        self.skipped = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes which epoch it is."""
        del logs
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Sets the rates of this batch."""
        del logs
        step = (self._epoch - self._first) * self._steps + batch + self.skipped
        share = self._plan(step) if callable(self._plan) else self._plan
        sync(self.model)
        for optimizer, rate in self._optimizers:
            optimizer.learning_rate = rate * float(share)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the last rate of the epoch, that of the head."""
        del epoch
        self.skipped = 0
        if logs is not None:
            logs["learning_rate"] = float(self._optimizers[0][0].learning_rate)
