"""Rounds of training: epochs that train the same layers, one round after another.

Each has its own optimizer and schedule; the history and the numbers of the epochs go on.
After any batch the whole state can be taken, and another course can go on from there.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasresnet.backends import without_gradients
from kerasresnet.classifier import Classifier, is_fresh
from kerasresnet.compiling import uses_averages
from kerasresnet.datasets import data_errors
from kerasresnet.decoding import Pixels
from kerasresnet.errors import DivergenceError
from kerasresnet.feeding import Feed, FeedSettings
from kerasresnet.freezing import frozen_until, set_trainable, stage_before
from kerasresnet.images import ImageData
from kerasresnet.inputs import Inputs, take_names
from kerasresnet.keeping import Best, ContinuousHistory, Snapshot
from kerasresnet.pacing import paced
from kerasresnet.pipeline import Start
from kerasresnet.precision import Precision
from kerasresnet.preparing import (
    Round,
    prepare,
    rate_of,
    steps_of,
    trained_in,
    unfrozen_from,
)
from kerasresnet.recording import (
    Recorder,
    Standing,
    State,
    arrays_of,
    build_metrics,
    flat_arrays,
    set_metrics,
)
from kerasresnet.sentinels import Watch, least_of, report_one_class
from kerasresnet.twins import Twin

# A round that does harm is begun again so many times, at half the rate.
_RETRIES = 2
# What a rate that was too high is compared with: the defaults of `fit` and `fine_tune`.
_HEAD_RATE, _STAGE_RATE = 1e-3, 1e-4
_log = logging.getLogger(__name__)


class Course:
    """The rounds of one run, on the same data.

    Args:
        model: A `Classifier`.
        inputs: Checked data.
        settings: How batches are made.
        rounds: What is trained, one after another.
        precision: As in `fit`.
        callbacks: As in `fit`.
        class_weight: Weights by class number, or None.
        best: What keeps the best weights, or None to keep the last.
        record: Called with the state from time to time, or None.
    """

    def __init__(  # noqa: PLR0913 - all that a run depends on
        self,
        model: Classifier,
        inputs: Inputs,
        settings: FeedSettings,
        rounds: Sequence[Round],
        *,
        precision: Precision,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        class_weight: dict[int, float] | None = None,
        best: Best | None = None,
        record: Callable[[State], None] | None = None,
    ) -> None:
        self.history = ContinuousHistory()
        self.stopped = False
        self._model = model
        self._inputs = inputs
        self._settings = settings
        self._rounds = list(rounds)
        self._precision = precision
        self._callbacks = list(callbacks)
        self._class_weight = class_weight
        self._best = best
        self._record = record or _forget
        self._standing = Standing()
        self._weights = [*trained_in(model, rounds), *_seeds(model)]
        self._before = Snapshot(self._weights)
        self._resumed: State | None = None

    def run(self) -> None:
        """Trains all rounds that are left, or until `stopped` is set.

        In the end the model has the best weights, if these are kept.

        Raises:
            DivergenceError: If the loss runs away. The model is as it was at the end of
                the last good epoch.
        """
        while self._standing.number < len(self._rounds) and not self.stopped:
            self._run_round(self._rounds[self._standing.number])
            self._standing = Standing(self._standing.number + 1, self.history.done)
            self._resumed = None
            self.save()
        if self._best is not None:
            self._best.restore()
            self._best.report()

    def resume(self, state: State) -> None:
        """Takes over the state of another course of the same rounds, which was cut off.

        Args:
            state: What `record` was called with.
        """
        arrays, notes = state
        self._standing = Standing(**notes["standing"])
        self.stopped = bool(notes["stopped"])
        self.history.bring_back(notes["history"], notes["epochs"])
        if self._best is not None:
            self._best.bring_back(arrays_of(arrays, "best"), notes["best"])
        Snapshot(self._weights, arrays_of(arrays, "weights")).restore()
        self._before = Snapshot(self._weights, arrays_of(arrays, "before"))
        self._resumed = state

    @property
    def undone(self) -> bool:
        """Whether the weights are those from before the first epoch again."""
        return (
            self._best is not None
            and bool(self.history.epoch)
            and self._best.epoch is None
        )

    def goes_on_after(self, epoch: int) -> bool:
        """Returns whether other epochs come after one of the present round."""
        number, first = self._standing.number, self._standing.first
        last_round = number + 1 == len(self._rounds)
        return not last_round or epoch + 1 < first + self._rounds[number].epochs

    def save(self) -> None:
        """Records the state between two rounds, or before the first."""
        self._record(self._state(Snapshot(self._weights), []))

    def _run_round(self, round_: Round) -> None:
        model, stage = self._model, round_.from_stage
        with data_errors(), unfrozen_from(model, stage):
            frozen = frozen_until(model) if stage is None else stage_before(stage)
            feed = Feed(model, frozen, self._precision, self._settings)
            start = Start(self.history.done, self._standing.batch)
            train = feed.training(self._inputs.train, start)
            whole = train
            if self._standing.batch:
                whole = feed.training(self._inputs.train, Start(start.epoch + 1))
            held_out = self._inputs.validation
            validation = None if held_out is None else feed.evaluation(held_out)
        steps = steps_of(train, round_) + self._standing.batch
        if stage is not None:
            set_trainable(model, stage)
        take_names(model, self._inputs)
        if self._standing.retries:
            slower = rate_of(round_) / 2**self._standing.retries
            round_ = replace(round_, learning_rate=slower)
        prepare(model, round_)
        twin = feed.twin()
        with data_errors(), model.trained_through(twin):
            self._guarded(round_, twin, _Batches(train, whole, validation, steps))

    def _guarded(self, round_: Round, twin: Twin, batches: "_Batches") -> None:
        """Trains, and begins again at half the rate where unfreezing does harm."""
        model = self._model
        if not self._standing.begun:
            accuracy = self._accuracy_before(round_, batches.validation)
            self._standing = replace(self._standing, begun=True, accuracy=accuracy)
            self._before.take()
        while True:
            watch = self._fit(round_, twin, batches)
            if watch.broken:
                self._diverged(watch, round_)
            if watch.fell_to is None:
                break
            self._before.restore()
            self.history.forget_last()
            again = self._standing.retries < _RETRIES
            round_ = replace(round_, learning_rate=rate_of(round_) / 2)
            self._report_harm(watch.fell_to, round_, again=again)
            self._standing = replace(
                self._standing, retries=self._standing.retries + 1, batch=0
            )
            prepare(model, round_, afresh=True)
            if not again:
                break
        self._report_one_class(batches.validation)

    def _fit(self, round_: Round, twin: Twin, batches: "_Batches") -> Watch:
        model, standing = self._model, self._standing
        if not model.optimizer.built:
            # Else Keras traces the training step twice, which takes seconds.
            model.optimizer.build(model.trainable_variables)
        held_out = self._inputs.validation
        least = None
        # Only the first epoch may do harm.
        if self.history.done == standing.first and isinstance(held_out, ImageData):
            least = least_of(standing.accuracy, len(held_out))
        watch = Watch(len(model.class_names), fresh=is_fresh(model), least=least)
        with paced(
            model.optimizer,
            round_.schedule,
            round_.warmup,
            epochs=round_.epochs,
            steps=batches.steps,
            first=standing.first,
        ) as pace:
            self._bring_back_optimizer()  # with the rate of then
            for each in pace:
                each.skipped = standing.batch
            last = standing.first + round_.epochs
            self._fit_epochs(batches, [*pace, watch], twin, last)
        return watch

    def _fit_epochs(
        self,
        batches: "_Batches",
        watchers: Sequence[keras.callbacks.Callback],
        twin: Twin,
        last: int,
    ) -> None:
        """Calls Keras's `fit`: once, or first for the rest of an epoch."""
        # Within an epoch Keras's `fit` cannot be cut in two without ending the averages.
        averaged = uses_averages(self._model.optimizer)
        steps = 0 if averaged else batches.steps
        recorder = Recorder(self._record, self._state, self._weights, steps)
        swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if averaged else []
        best = [] if self._best is None else [self._best]
        watchers = [recorder.early, *swap, *watchers, *self._callbacks]
        watchers += [_still(twin), *best, self.history, recorder]
        parts = [(batches.train, last)]
        if self._standing.batch:
            parts = [(batches.train, self.history.done + 1), (batches.whole, last)]
            watchers.insert(0, self._metrics_again())
            recorder.skipped = self._standing.batch
        build_metrics(self._model, batches.train, len(self._model.class_names))
        self._model.stop_training = False
        for train, end in parts:
            if self._model.stop_training or self.history.done >= end:
                break
            self._model.fit(
                train,
                validation_data=batches.validation,
                initial_epoch=self.history.done,
                epochs=end,
                callbacks=watchers,
                class_weight=self._class_weight,
                verbose=self._settings.verbose,
                shuffle=False,  # the batches come shuffled
            )
            self._standing = replace(self._standing, batch=0)

    # The state --------------------------------------------------------------------------

    def _state(
        self,
        weights: Snapshot,
        optimizer: Sequence[Pixels],
        *,
        batch: int = 0,
        metrics: Sequence[Pixels] = (),
    ) -> State:
        held = {
            "weights": weights.values,
            "before": self._before.values,
            "optimizer": optimizer,
            "metrics": metrics,
            "best": [] if self._best is None else self._best.values,
        }
        notes = {
            "standing": asdict(replace(self._standing, batch=batch)),
            "stopped": self.stopped,
            "history": {
                name: list(values) for name, values in self.history.history.items()
            },
            "epochs": list(self.history.epoch),
            "best": None if self._best is None else self._best.notes,
        }
        return flat_arrays(held), notes

    def _bring_back_optimizer(self) -> None:
        """Gives the model what it had in the middle of a round, once."""
        if self._resumed is None:
            return
        arrays, _ = self._resumed
        Snapshot(self._weights, arrays_of(arrays, "weights")).restore()
        values = arrays_of(arrays, "optimizer")
        if values:
            Snapshot(self._model.optimizer.variables, values).restore()

    def _metrics_again(self) -> keras.callbacks.Callback:
        """Gives the metrics what they had, once Keras has reset them for the epoch."""
        values = arrays_of(self._resumed[0], "metrics") if self._resumed else []

        def begin(epoch: int, logs: Any) -> None:
            del epoch, logs
            set_metrics(self._model, values)
            values.clear()

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin)

    # What is said -----------------------------------------------------------------------

    def _accuracy_before(self, round_: Round, validation: Any) -> float | None:
        """Validation accuracy before a stage is unfrozen, None if it is not asked for."""
        if round_.from_stage is None or validation is None:
            return None
        scores = self._model.evaluate(validation, verbose=0, return_dict=True)
        if self._best is not None and not self.history.done:
            self._best.begin(scores)
        return scores.get("accuracy")

    def _diverged(self, watch: Watch, round_: Round) -> None:
        watch.restore()
        rate = rate_of(round_)
        usual = _HEAD_RATE if round_.from_stage is None else _STAGE_RATE
        lower = min(rate / 10, usual)
        raise DivergenceError(
            f"Training diverged: {watch.broken}. The model's weights are those of the "
            f"last good epoch. Try a lower learning rate, such as {lower:.3g} instead of "
            f"{rate:.3g} (find_learning_rate suggests one), or "
            "compile_classifier(model, global_clipnorm=1.0).",
            self.history,
        )

    def _report_harm(self, accuracy: float, round_: Round, *, again: bool) -> None:
        _log.warning(
            "Validation accuracy fell from %.1f %% to %.1f %% in the first epoch from %s: "
            "the weights are as before, and %s.",
            100 * (self._standing.accuracy or 0),
            100 * accuracy,
            round_.from_stage,
            f"the stage is trained again at a rate of {rate_of(round_):.3g}"
            if again
            else "the stage is left out",
        )

    def _report_one_class(self, validation: Any) -> None:
        def predicted() -> Pixels:
            # Not by Keras's `predict`, which would trace and keep a graph of the twin.
            with without_gradients():
                scores = [
                    ops.convert_to_numpy(self._model(images, training=False))
                    for images, *_ in validation
                ]
            return np.concatenate(scores).argmax(axis=1)

        reached = self.history.history.get("val_accuracy")
        report_one_class(
            reached[-1] if reached else None, self._inputs.validation, predicted
        )


@dataclass(frozen=True)
class _Batches:
    """What a round is trained on.

    Args:
        train: Batches of the first epoch, or of the rest of it.
        whole: Batches of the epochs after it.
        validation: Batches to score, or None.
        steps: Number of batches in a whole epoch.
    """

    train: Any
    whole: Any
    validation: Any
    steps: int


def _seeds(model: Classifier) -> list[keras.Variable]:
    """What dropout draws its next numbers from."""
    weights = {id(weight) for weight in model.weights}
    return [each for each in model.variables if id(each) not in weights]


def _forget(state: State) -> None:
    del state


def _still(twin: Twin) -> keras.callbacks.Callback:
    """Stops a run whose callbacks have changed what is frozen."""
    return keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: twin.check_frozen(),
        on_train_end=lambda logs: twin.check_frozen(),
    )
