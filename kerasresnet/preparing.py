"""What a round of training is, and how a model is made ready for it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import keras

from kerasresnet.backbones import TrainableStage
from kerasresnet.classifier import Classifier
from kerasresnet.compiling import compile_classifier, with_layer_decay
from kerasresnet.errors import DataError
from kerasresnet.freezing import (
    as_if_trained_from,
    check_stage,
    compile_settings,
    recompile,
)
from kerasresnet.schedules import Schedule, check_schedule

_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Round:
    """Epochs in which the same layers are trained.

    Args:
        epochs: Number of passes over the training data.
        from_stage: First stage to train; None for what is trainable already.
        learning_rate: The optimizer's rate. None keeps the one it has, or 1e-3.
        schedule: How the rate changes in the round.
        warmup: Share of the round's steps in which the rate rises, or None for what is
            usual with the schedule.
        layer_decay: Factor of the rate from each stage to the one before it.
    """

    epochs: int
    from_stage: TrainableStage | None = None
    learning_rate: float | None = None
    schedule: Schedule = "constant"
    warmup: float | None = None
    layer_decay: float = 1.0


def check_round(round_: Round) -> None:
    """Raises a `ValueError` unless a round can be trained: values as in `fine_tune`."""
    rate: Any = round_.learning_rate
    decay: Any = round_.layer_decay
    check_stage(round_.from_stage)
    check_epochs(round_.epochs)
    if rate is not None and not isinstance(rate, int | float):
        raise ValueError(
            f"learning_rate must be a number, received {rate!r}. A schedule goes to "
            "compile_classifier(model, learning_rate=schedule)."
        )
    if rate is not None and not rate > 0:
        raise ValueError(f"learning_rate must be positive, received {rate}.")
    if not isinstance(decay, int | float) or not 0 < decay <= 1:
        raise ValueError(
            f"layer_decay must be above 0 and at most 1, received {decay!r}."
        )
    check_schedule(round_.schedule, round_.warmup)


def check_epochs(epochs: Any) -> None:
    """Raises a `ValueError` unless this is a number of epochs."""
    if not isinstance(epochs, Integral) or epochs < 1:
        raise ValueError(
            f"epochs must be a whole number of at least 1, received {epochs!r}."
        )


def unfrozen_from(
    model: Classifier, from_stage: TrainableStage | None
) -> AbstractContextManager[None]:
    """Lets a model have the flags of a round for a while.

    Args:
        model: A `Classifier`.
        from_stage: As in `Round`: None leaves the flags as they are.
    """
    if from_stage is None:
        return nullcontext()
    return as_if_trained_from(model, from_stage)


def trained_in(model: Classifier, rounds: Sequence[Round]) -> list[keras.Variable]:
    """Returns all weights that are trained in some round."""
    found = {}
    for round_ in rounds:
        with unfrozen_from(model, round_.from_stage):
            found.update({weight.path: weight for weight in model.trainable_variables})
    return list(found.values())


def prepare(model: Classifier, round_: Round, *, afresh: bool = False) -> None:
    """Compiles a model for a round, unless it is compiled for it already.

    Args:
        model: It is changed; its flags are set already.
        round_: What will be trained.
        afresh: Whether its optimizer must forget what it has.
    """
    rate = round_.learning_rate
    if not model.compiled:
        compile_classifier(model, learning_rate=rate or _LEARNING_RATE)
    elif model.stale or afresh or round_.layer_decay != 1:
        recompile(model, learning_rate=rate)
    elif rate is not None or round_.schedule != "constant":
        if not _is_assignable(model.optimizer):
            recompile(model, learning_rate=rate or _LEARNING_RATE)
        elif rate is not None:
            model.optimizer.learning_rate = rate
    if round_.layer_decay != 1:
        settings = compile_settings(model)
        optimizer = settings["optimizer"]
        settings["optimizer"] = with_layer_decay(optimizer, round_.layer_decay, model)
        model.compile(**settings)


def _is_assignable(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an optimizer's rate is one number, not a schedule and not several."""
    try:
        return isinstance(optimizer.learning_rate, keras.Variable)
    except AttributeError:  # a MultiOptimizer's
        return False


def rate_of(round_: Round) -> float:
    """Returns the rate of a round."""
    return round_.learning_rate or _LEARNING_RATE


def steps_of(batches: Any, round_: Round) -> int:
    """Returns the number of batches in an epoch; 0 if it is unknown, and not needed.

    Args:
        batches: A `tf.data.Dataset`.
        round_: What is trained on them.

    Raises:
        DataError: If it is unknown, but the round's schedule needs it.
    """
    found = int(batches.cardinality())
    if found < 1 and (round_.schedule != "constant" or round_.warmup):
        raise DataError(
            f"schedule={round_.schedule!r} needs the number of batches, which this "
            "tf.data.Dataset does not know. Call dataset.apply("
            "tf.data.experimental.assert_cardinality(n)), or pass schedule='constant'."
        )
    return max(found, 0)
