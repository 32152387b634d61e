"""When training ends because its time is over."""

import logging
import time
from collections.abc import Callable
from typing import Any

import keras

from kerasresnet.durations import format_duration
from kerasresnet.recording import State
from kerasresnet.rounds import Course

_log = logging.getLogger(__name__)


class Deadline(keras.callbacks.Callback):
    """Begins no epoch that would end after the time budget.

    `course` is what it stops, and is set once that is made.

    Args:
        budget: Seconds that the run may take, or None.
        begun: When it began, by `time.monotonic`.
        spent: Seconds that it had before, if it goes on.
    """

    def __init__(self, budget: float | None, begun: float, spent: float = 0.0) -> None:
        super().__init__()
        self._budget = budget
        self._begun = begun - spent
        self._epoch = begun
        self.course: Course | None = None

    def recording(self, write: Callable[..., None]) -> Callable[[State], None]:
        """Returns what writes a state with the time that the run has had.

        Args:
            write: Called with a state's arrays and notes.
        """

        def record(state: State) -> None:
            arrays, notes = state
            write(arrays, {**notes, "seconds": time.monotonic() - self._begun})

        return record

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes when it begins."""
        del epoch, logs
        self._epoch = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops the run if another epoch would take too long."""
        del logs
        now = time.monotonic()
        if self._budget is None or self.course is None:
            return
        if not self.course.goes_on_after(epoch):
            return
        if now - self._begun + (now - self._epoch) > self._budget:
            self.course.stopped = self.model.stop_training = True
            _log.warning(
                "Stopped after epoch %d: another would go beyond the time budget of "
                "%s. A larger time budget trains for longer.",
                epoch + 1,
                format_duration(self._budget),
            )
