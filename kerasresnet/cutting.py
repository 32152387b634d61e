"""Cuts a network in two at a named stage."""

import keras

from kerasresnet.backbones import Stage, stage_end


def split_at(model: keras.Model, stage: Stage) -> tuple[keras.Model, keras.Model]:
    """Cuts a model in two at the end of a stage.

    Both halves share their variables with `model`: training the tail trains it.

    Args:
        model: A model with ResNet stage names, such as `build_classifier` makes.
        stage: Last stage of the trunk, `"conv1"` to `"conv5"` or `"avg_pool"`.
            `"conv1"` ends after its pooling layer.

    Returns:
        A tuple `(trunk, tail)` for which `tail(trunk(x))` equals `model(x)`.

    Raises:
        ValueError: If `stage` is not a stage of the model.

    Example:

    >>> model = kr.build_classifier(5, weights=None, input_shape=(64, 64, 3))
    >>> trunk, tail = kr.split_at(model, "conv4")
    >>> tail.input.shape
    (None, 4, 4, 1024)
    """
    end = stage_end(model, stage).output
    trunk = keras.Model(model.input, end, name=f"{model.name}_to_{stage}")
    tail = keras.Model(end, model.output, name=f"{model.name}_from_{stage}")
    return trunk, tail
