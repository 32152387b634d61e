"""Input, preprocessing and ResNet graph, and the table of stages.

The graph is flat: the backbone's layers are layers of the model, under Keras's names.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import keras
from keras import ops

from kerasresnet.catalogue import (
    ARCHITECTURES,
    PREPROCESSINGS,
    STEMS,
    Architecture,
    PreprocessingName,
)
from kerasresnet.errors import unknown
from kerasresnet.resnets import build_graph

Stage: TypeAlias = Literal["conv1", "conv2", "conv3", "conv4", "conv5", "avg_pool"]
TrainableStage: TypeAlias = Literal["conv1", "conv2", "conv3", "conv4", "conv5"]

# The layer at which each stage ends; of several that match, the last.
_STAGE_ENDS: dict[Stage, re.Pattern[str]] = {
    "conv1": re.compile(r"pool1_pool|conv1_relu"),
    "conv2": re.compile(r"conv2_block\d+_out"),
    "conv3": re.compile(r"conv3_block\d+_out"),
    "conv4": re.compile(r"conv4_block\d+_out"),
    "conv5": re.compile(r"conv5_block\d+_out|post_relu"),
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
        preprocessing: What random weights are given, and published ones expect.
        cifar_graph: The same with the stem for small images, or None.
    """

    graph: Callable[[Any], Any]
    smallest: int
    preprocessing: PreprocessingName = "caffe"
    cifar_graph: Callable[[Any], Any] | None = None

    def stem(self, name: str) -> Callable[[Any], Any]:
        """Returns the graph with a stem, or raises a `ValueError`."""
        if name not in STEMS:
            raise unknown("stem", name, STEMS)
        if name == "imagenet":
            return self.graph
        if self.cifar_graph is None:
            raise ValueError(
                f"stem={name!r} is for the graphs v1 and v1.5, such as backbone='resnet18'; "
                "this network begins as keras.applications has it."
            )
        return self.cifar_graph

    def smallest_side(self, stem: str) -> int:
        """Returns the smallest side of an input with a stem, in px."""
        # Such a stem leaves out two of five halvings.
        return self.smallest if stem == "imagenet" else self.smallest // 4


def _backbone(architecture: Architecture) -> Backbone:
    own = partial(build_graph, architecture)
    graph = partial(own, stem="imagenet")
    if architecture.graph == "v2" or (architecture.graph, architecture.bottleneck) == (
        "v1",
        True,
    ):
        graph = partial(_keras_graph, architecture)
    cifar = partial(own, stem="cifar") if "cifar" in architecture.stems else None
    return Backbone(graph, 32, architecture.preprocessing, cifar)


def _keras_graph(architecture: Architecture, images: Any) -> Any:
    name = f"ResNet{architecture.depth}{'V2' if architecture.graph == 'v2' else ''}"
    build = getattr(keras.applications, name)
    return build(include_top=False, weights=None, input_tensor=images).output


BACKBONES = {name: _backbone(row) for name, row in ARCHITECTURES.items()}


@keras.saving.register_keras_serializable("kerasresnet")
class Preprocessing(keras.layers.Layer):
    """RGB 0..255 to what weights were trained on, inside the graph, always in float32.

    As Keras's `imagenet_utils.preprocess_input`, but the caller's array is not touched
    and uint8 does not wrap around.

    Args:
        mode: `"caffe"`: BGR minus the ImageNet mean, as Keras's ResNet v1 weights;
            `"torch"`: scaled to 0..1, minus the mean, by the standard deviation of
            ImageNet, as torchvision's and timm's; `"tf"`: scaled to -1..1, as Keras's
            ResNet V2.
    """

    def __init__(self, mode: PreprocessingName = "caffe", **settings: Any) -> None:
        super().__init__(**settings)
        self.mode = mode

    def call(self, images: Any) -> Any:
        """Returns the preprocessed images.

        Args:
            images: Tensor of shape `(N, H, W, 3)`, RGB in 0..255.

        Returns:
            A float32 tensor of the same shape.
        """
        values = ops.cast(images, "float32")
        if self.mode == "tf":
            return values / 127.5 - 1.0
        # Made here and not kept: exporters turn kept constants into inputs.
        if self.mode == "caffe":
            mean = ops.convert_to_tensor([103.939, 116.779, 123.68], "float32")
            return ops.flip(values, axis=-1) - mean
        mean = ops.convert_to_tensor([0.485, 0.456, 0.406], "float32")
        deviation = ops.convert_to_tensor([0.229, 0.224, 0.225], "float32")
        return (values / 255.0 - mean) / deviation

    def get_config(self) -> dict[str, Any]:
        """Returns the mode and what every layer has."""
        return {**super().get_config(), "mode": self.mode}


def check_backbone(name: str) -> Backbone:
    """Returns the backbone of a name, or raises a `ValueError` that lists them."""
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]


def check_preprocessing(name: str | None) -> None:
    """Raises a `ValueError` unless there is a preprocessing of that name; None is usual."""
    if name is not None and name not in PREPROCESSINGS:
        raise unknown("preprocessing", name, PREPROCESSINGS)


def feature_map(
    name: str,
    images: Any,
    *,
    stem: str = "imagenet",
    preprocessing: PreprocessingName | None = None,
    upsample_by: tuple[int, int] = (1, 1),
) -> Any:
    """Builds upsampling, preprocessing and backbone on an input tensor.

    Args:
        name: Name of the backbone.
        images: Keras tensor of shape `(None, H, W, 3)`, RGB in 0..255.
        stem: `"imagenet"` or `"cifar"`.
        preprocessing: `"caffe"`, `"torch"` or `"tf"`. Defaults to the backbone's.
        upsample_by: Whole factors for height and width (nearest neighbour).

    Returns:
        The Keras tensor of the last feature map.
    """
    backbone = check_backbone(name)
    if upsample_by != (1, 1):
        images = keras.layers.UpSampling2D(
            upsample_by, dtype="float32", name="upsampling"
        )(images)
    mode = preprocessing or backbone.preprocessing
    images = Preprocessing(mode, dtype="float32", name="preprocessing")(images)
    return backbone.stem(stem)(images)


def stage_of(layer_name: str) -> str | None:
    """Returns the stage that a layer belongs to, or None outside the backbone."""
    for prefix, stage in (("pool1_", "conv1"), ("post_", "conv5")):
        if layer_name.startswith(prefix):
            return stage
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
