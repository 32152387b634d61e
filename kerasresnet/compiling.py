"""`compile_classifier`: loss, metrics and optimizer for class labels in either form."""

import re
from collections.abc import Sequence
from typing import Any

import keras

from kerasresnet.backbones import STAGES, stage_of
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.errors import unknown
from kerasresnet.losses import Accuracy, CrossEntropy

_RATE = 1e-3


def compile_classifier(  # noqa: PLR0913 - the public contract
    model: Classifier,
    *,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float
    | keras.optimizers.schedules.LearningRateSchedule
    | None = None,
    label_smoothing: float = 0.0,
    weight_decay: float | None = None,
    global_clipnorm: float | None = None,
    ema_momentum: float | None = None,
    gradient_accumulation_steps: int | None = None,
    metrics: Sequence[Any] | None = None,
) -> None:
    """Compiles a classifier for integer or one-hot labels.

    Args:
        model: A `Classifier`. It is changed.
        optimizer: Name of a Keras optimizer, such as `"adam"` or `"sgd"` (which gets
            Nesterov momentum 0.9), or an optimizer, whose own settings are kept.
        learning_rate: Rate or schedule. Defaults to 1e-3.
        label_smoothing: Share of the label that is spread over all classes, in [0, 1).
        weight_decay: Share of each weight that is taken away in a step, times the rate
            (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101). Defaults to
            the optimizer's own, none for most.
        global_clipnorm: Longest gradient, over all weights together. Defaults to no limit.
        ema_momentum: Averages the weights over the steps with this momentum, such as
            0.99. Validation and the trained model use the averages. Defaults to none.
        gradient_accumulation_steps: Number of batches whose gradients are averaged for a
            step. Defaults to 1.
        metrics: Keras metrics. Defaults to accuracy.

    The five from `learning_rate` on, but for `label_smoothing`, belong to an optimizer
    given by name.

    Raises:
        ValueError: If an argument is out of range, or given beside an optimizer that has
            its own.

    Example:

    >>> model = kr.build_classifier(5, weights=None, input_shape=(64, 64, 3))
    >>> kr.compile_classifier(model, optimizer="sgd", learning_rate=0.01)
    >>> type(model.optimizer).__name__
    'SGD'
    """
    check_classifier(model)
    settings = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "global_clipnorm": global_clipnorm,
        "ema_momentum": ema_momentum,
        "gradient_accumulation_steps": gradient_accumulation_steps,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    if ema_momentum is not None:
        given["use_ema"] = True
    model.compile(
        optimizer=_optimizer(optimizer, given),
        loss=CrossEntropy(label_smoothing),
        metrics=[Accuracy()] if metrics is None else list(metrics),
    )


def with_layer_decay(
    optimizer: keras.optimizers.Optimizer, layer_decay: float, model: keras.Model
) -> keras.optimizers.Optimizer:
    """Returns an optimizer that is slower the earlier a stage lies.

    The head keeps the rate; each stage before it has that of the next, times
    `layer_decay` (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.2).

    Args:
        optimizer: A Keras optimizer whose rate is a number. It is not changed.
        layer_decay: Factor from stage to stage, in (0, 1).
        model: What is trained, with its flags set.

    Returns:
        A `keras.optimizers.MultiOptimizer`.
    """
    trained = {stage_of(each.name) for each in model.layers if each.trainable_weights}
    rate = float(optimizer.learning_rate)
    slower = {}
    for steps, stage in enumerate(reversed(STAGES[:-1]), 1):
        if stage not in trained:
            continue  # an optimizer without weights would not be whole
        settings = optimizer.get_config()
        settings["learning_rate"] = rate * layer_decay**steps
        settings["name"] = f"{optimizer.name}_{stage}"
        slower[re.escape(stage) + "_.*"] = type(optimizer).from_config(settings)
    rates = keras.optimizers.OptimizerMap(optimizer, slower)
    return keras.optimizers.MultiOptimizer(rates)


def optimizers_of(
    optimizer: keras.optimizers.Optimizer,
) -> list[keras.optimizers.Optimizer]:
    """Returns the optimizers that an optimizer consists of, the head's first."""
    inner = getattr(optimizer, "optimizers", None)
    return [optimizer] if inner is None else [inner[-1], *inner[:-1]]


def uses_averages(optimizer: keras.optimizers.Optimizer) -> bool:
    """Returns whether an optimizer keeps averages of the weights."""
    return any(getattr(each, "use_ema", False) for each in optimizers_of(optimizer))


def _optimizer(optimizer: Any, settings: dict[str, Any]) -> Any:
    if not isinstance(optimizer, str):
        if settings:
            raise ValueError(
                f"{', '.join(settings)} given beside an optimizer that has its own. Pass "
                "an optimizer's name, such as 'adam', or set them in the optimizer."
            )
        return optimizer
    known = {
        name.lower(): kind
        for name, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)
    }
    if optimizer.lower() not in known:
        raise unknown("optimizer", optimizer, sorted(known))
    if optimizer.lower() == "sgd":
        settings = {"momentum": 0.9, "nesterov": True, **settings}
    return known[optimizer.lower()](**{"learning_rate": _RATE, **settings})
