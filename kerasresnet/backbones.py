"""Input, preprocessing and ResNet graph, and the table of stages.

The graph is flat: the backbone's layers are layers of the model, under Keras's names.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras
from keras import ops

from kerasresnet.errors import unknown

Stage: TypeAlias = Literal["conv1", "conv2", "conv3", "conv4", "conv5", "avg_pool"]
TrainableStage: TypeAlias = Literal["conv1", "conv2", "conv3", "conv4", "conv5"]

# The layer at which each stage ends; of several that match, the last.
_STAGE_ENDS: dict[Stage, re.Pattern[str]] = {
    "conv1": re.compile(r"pool1_pool"),
    "conv2": re.compile(r"conv2_block\d+_out"),
    "conv3": re.compile(r"conv3_block\d+_out"),
    "conv4": re.compile(r"conv4_block\d+_out"),
    "conv5": re.compile(r"conv5_block\d+_out"),
    "avg_pool": re.compile(r"(avg|max)_pool"),
}
STAGES = tuple(_STAGE_ENDS)
POOLINGS = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


@dataclass(frozen=True)
class Backbone:
    """A network without its head.

    Args:
        graph: Function from a preprocessed image tensor to the feature map.
        smallest: Smallest side of an input, in px.
    """

    graph: Callable[[Any], Any]
    smallest: int


def _resnet50(images: Any) -> Any:
    return keras.applications.ResNet50(
        include_top=False, weights=None, input_tensor=images
    ).output


BACKBONES = {"resnet50": Backbone(_resnet50, smallest=32)}


@keras.saving.register_keras_serializable("kerasresnet")
class CaffePreprocessing(keras.layers.Layer):
    """What Keras's ResNet v1 weights expect: RGB 0..255 to centred BGR.

    The channels are reversed and the ImageNet mean is subtracted, always in float32:
    `keras.applications.resnet50.preprocess_input`, but inside the graph and without
    touching the caller's array.
    """

    def call(self, images: Any) -> Any:
        """Returns the preprocessed images.

        Args:
            images: Tensor of shape `(N, H, W, 3)`, RGB in 0..255.

        Returns:
            A float32 tensor of the same shape.
        """
        reversed_channels = ops.flip(ops.cast(images, "float32"), axis=-1)
        # Made here and not kept: exporters turn kept constants into inputs.
        mean = ops.convert_to_tensor([103.939, 116.779, 123.68], "float32")
        return reversed_channels - mean


def check_backbone(name: str) -> Backbone:
    """Returns the backbone of a name, or raises a `ValueError` that lists them."""
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]


def feature_map(
    name: str, images: Any, *, upsample_by: tuple[int, int] = (1, 1)
) -> Any:
    """Builds upsampling, preprocessing and backbone on an input tensor.

    Args:
        name: Name of the backbone.
        images: Keras tensor of shape `(None, H, W, 3)`, RGB in 0..255.
        upsample_by: Whole factors for height and width (nearest neighbour).

    Returns:
        The Keras tensor of the last feature map.
    """
    backbone = check_backbone(name)
    if upsample_by != (1, 1):
        images = keras.layers.UpSampling2D(
            upsample_by, dtype="float32", name="upsampling"
        )(images)
    images = CaffePreprocessing(dtype="float32", name="preprocessing")(images)
    return backbone.graph(images)


def stage_of(layer_name: str) -> str | None:
    """Returns the stage that a layer belongs to, or None outside the backbone."""
    if layer_name.startswith("pool1_"):
        return "conv1"
    found = re.match(r"(conv[1-5])_", layer_name)
    return found.group(1) if found else None


def stage_end(model: keras.Model, stage: str) -> Any:
    """Returns the layer of a model at which a stage ends.

    Args:
        model: A flat model with ResNet stage names.
        stage: `"conv1"` to `"conv5"` or `"avg_pool"`.

    Returns:
        A layer.

    Raises:
        ValueError: If `stage` is not a stage of the model.
    """
    if stage not in _STAGE_ENDS:
        raise unknown("stage", stage, STAGES)
    ends = [layer for layer in model.layers if _STAGE_ENDS[stage].fullmatch(layer.name)]
    if not ends:
        raise ValueError(
            f"Model {model.name!r} has no stage {stage!r}: no layer is named like "
            f"{_STAGE_ENDS[stage].pattern!r}. build_classifier makes models with stages."
        )
    return ends[-1]
