"""Which layers are trained. The only place that assigns `.trainable`.

Batch normalisation of a pretrained backbone is kept still: `trainable=False` is what
stops its statistics in Keras 3, `training=False` is not
(https://github.com/keras-team/keras/issues/20285).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import keras

from kerasresnet.backbones import STAGES, Stage, TrainableStage, stage_of
from kerasresnet.errors import unknown

BatchNormPolicy: TypeAlias = Literal["frozen", "trained"]

_TRAINABLE_STAGES = STAGES[:-1]
_BATCH_NORM_POLICIES = ("frozen", "trained")


def set_trainable(
    model: keras.Model,
    from_stage: TrainableStage | None,
    *,
    batch_norm: BatchNormPolicy = "frozen",
) -> None:
    """Makes a model train from a stage onwards, and everything before it stand still.

    A stage of the backbone wants a lower learning rate than a new head; `fine_tune` sets
    both. The model keeps the rate that it has.

    Batch normalisation in the backbone is kept still in every stage, or the network loses
    in the first steps what it has learned; a network with random weights needs it trained
    (`batch_norm="trained"`, see `examples/pretrain.py`). A compiled model is
    compiled again with the same settings and a fresh optimizer, since Keras would go on
    with the old flags otherwise.

    Args:
        model: A model with ResNet stage names, such as `build_classifier` makes. It is
            changed.
        from_stage: First stage to train, `"conv1"` (everything) to `"conv5"`, or None to
            train the head alone.
        batch_norm: `"frozen"`, or `"trained"` to train it in the stages that are trained:
            its scale and shift, and the statistics of the batches that it sees.

    Raises:
        ValueError: If `from_stage` is not a stage or `batch_norm` not a policy, the model has none, or it was compiled
            with something that Keras cannot make anew. The model is as before then.

    Example:

    >>> model = kr.build_classifier(5, weights=None, input_shape=(64, 64, 3))
    >>> len(model.trainable_weights)  # the head: one kernel, one bias
    2
    >>> kr.set_trainable(model, "conv5")
    >>> len(model.trainable_weights)  # and ten convolutions
    22
    """
    check_stage(from_stage)
    if batch_norm not in _BATCH_NORM_POLICIES:
        raise unknown("batch_norm", batch_norm, _BATCH_NORM_POLICIES)
    if not any(stage_of(layer.name) for layer in model.layers):
        raise ValueError(
            f"Model {model.name!r} has no ResNet stages. build_classifier makes models that have."
        )
    # Read before anything is changed: it may refuse.
    settings = compile_settings(model) if model.compiled else None
    apply_plan(model, _plan_from(model, from_stage, batch_norm))
    if settings is not None:
        model.compile(**settings)


def plan(model: keras.Model) -> tuple[str, ...]:
    """Returns the names of the layers that are set to be trained."""
    return tuple(layer.name for layer in model.layers if layer.trainable)


@contextmanager
def as_if_trained_from(
    model: keras.Model, from_stage: TrainableStage | None
) -> Iterator[None]:
    """Lets a model have the flags of `set_trainable` for a while, without compiling it.

    Args:
        model: A model with ResNet stage names.
        from_stage: As in `set_trainable`.
    """
    before, whole = plan(model), model.trainable
    apply_plan(model, _plan_from(model, from_stage))
    try:
        yield
    finally:
        apply_plan(model, before)
        if not whole:
            model.trainable = False


def frozen_until(model: keras.Model) -> Stage | None:
    """Returns the last stage before the first that is trained, or None if that is the first."""
    trained = {
        stage_of(layer.name) for layer in model.layers if layer.trainable_weights
    }
    return stage_before(next((stage for stage in STAGES if stage in trained), None))


def stage_before(from_stage: str | None) -> Stage | None:
    """Returns the last frozen stage if training starts at `from_stage`; None: at the input.

    Args:
        from_stage: `"conv1"` to `"conv5"`, or None for the head alone.
    """
    if from_stage is None:
        return "avg_pool"
    number = STAGES.index(from_stage)
    return STAGES[number - 1] if number else None


def apply_plan(model: keras.Model, names: list[str] | tuple[str, ...]) -> None:
    """Sets exactly the layers of these names to be trained."""
    # An outer False would win over the layers' own flags.
    model.trainable = True
    chosen = set(names)
    for layer in model.layers:
        layer.trainable = layer.name in chosen


def check_stage(from_stage: str | None) -> None:
    """Raises a `ValueError` unless training can start from this stage."""
    if from_stage is not None and from_stage not in _TRAINABLE_STAGES:
        raise unknown("stage", from_stage, _TRAINABLE_STAGES)


def compile_settings(
    model: keras.Model, *, learning_rate: float | None = None
) -> dict[str, Any]:
    """Returns what `model.compile` needs to do it again, with a fresh optimizer.

    Args:
        model: A compiled model.
        learning_rate: The optimizer's new rate. Defaults to the one it has.

    Returns:
        The keyword arguments of `compile`.

    Raises:
        ValueError: If the model was compiled with something that Keras cannot make anew.
    """
    config = model.get_compile_config()
    if learning_rate is not None:
        config["optimizer"] = _single(config["optimizer"])
        config["optimizer"]["config"]["learning_rate"] = learning_rate
    try:
        settings = keras.saving.deserialize_keras_object(config)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "The model was compiled with a loss, metric or schedule that Keras cannot make "
            "anew, as a fresh optimizer needs. Decorate it with @keras.saving."
            "register_keras_serializable(), and compile the model with it again."
        ) from error
    return dict(settings)


def recompile(model: keras.Model, *, learning_rate: float | None = None) -> None:
    """Compiles a model again with its own settings and a fresh optimizer.

    Args:
        model: A compiled model.
        learning_rate: The optimizer's new rate. Defaults to the one it has.
    """
    model.compile(**compile_settings(model, learning_rate=learning_rate))


def _single(optimizer: dict[str, Any]) -> dict[str, Any]:
    """The optimizer of the head, if each stage has one of its own."""
    rates = optimizer["config"].get("optimizer_map")
    return optimizer if rates is None else rates["config"]["default_optimizer"]


def _plan_from(
    model: keras.Model,
    from_stage: TrainableStage | None,
    batch_norm: BatchNormPolicy = "frozen",
) -> list[str]:
    first = len(STAGES) if from_stage is None else STAGES.index(from_stage)
    return [
        layer.name for layer in model.layers if _is_trained(layer, first, batch_norm)
    ]


def _is_trained(
    layer: keras.layers.Layer, first_stage: int, batch_norm: BatchNormPolicy
) -> bool:
    stage = stage_of(layer.name)
    if stage is None:
        return True
    norm = isinstance(layer, keras.layers.BatchNormalization)
    still = norm and batch_norm == "frozen"
    return STAGES.index(stage) >= first_stage and not still
