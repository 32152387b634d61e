"""What a round of training is, and how a model is made ready for it."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import keras

from kerasresnet.backbones import TrainableStage
from kerasresnet.classifier import Classifier
from kerasresnet.compiling import compile_classifier, with_layer_decay
from kerasresnet.errors import DataError
from kerasresnet.freezing import as_if_trained_from, compile_settings, recompile
from kerasresnet.schedules import Schedule

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


def trained_in(model: Classifier, rounds: Sequence[Round]) -> list[keras.Variable]:
    """Returns all weights that are trained in some round."""
    found = {}
    for round_ in rounds:
        stage = round_.from_stage
        with nullcontext() if stage is None else as_if_trained_from(model, stage):
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
