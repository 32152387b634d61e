"""ResNet graphs that Keras does not have, from one table, flat and under Keras's names.

ResNet18 and 34; torchvision's graph of all depths, "v1.5"; and the stem for small images.
"""

from dataclasses import dataclass
from typing import Any

import keras

from kerasresnet.catalogue import Architecture, Graph, StemName

layers = keras.layers


@dataclass(frozen=True)
class Conventions:
    """What is not in the paper, and differs between libraries.

    Args:
        strided: Which convolution of a bottleneck block takes the stride.
        bias: Whether convolutions have a bias, which the batch norm behind them takes
            away again.
        epsilon: What batch norm adds to the variance.
        momentum: Share of the old statistics in batch norm's moving ones, as Keras
            counts it.
    """

    strided: int
    bias: bool
    epsilon: float
    momentum: float


# keras/src/applications/resnet.py; torchvision/models/resnet.py
_CONVENTIONS: dict[Graph, Conventions] = {
    # But for the momentum: with Keras's 0.99 the statistics are right only after hundreds
    # of steps.
    "v1": Conventions(strided=1, bias=True, epsilon=1.001e-5, momentum=0.9),
    "v1.5": Conventions(strided=2, bias=False, epsilon=1e-5, momentum=0.9),
}


def build_graph(architecture: Architecture, images: Any, stem: StemName) -> Any:
    """Builds a network of the v1 or v1.5 graph on an input tensor.

    Args:
        architecture: A row of the catalogue.
        images: Preprocessed Keras tensor of shape `(None, H, W, 3)`.
        stem: `"imagenet"` for a 7x7 convolution of stride 2 and a pooling of stride 2,
            `"cifar"` for a 3x3 convolution of stride 1.

    Returns:
        The Keras tensor of the last feature map.
    """
    builder = _Builder(_CONVENTIONS[architecture.graph], architecture.bottleneck)
    values = builder.stem(images, stem)
    for i, blocks in enumerate(architecture.blocks):
        for block in range(1, blocks + 1):
            stride = 2 if i > 0 and block == 1 else 1
            name = f"conv{i + 2}_block{block}"
            values = builder.block(values, 64 * 2**i, stride, name)
    return values


class _Builder:
    """Adds blocks to a graph, under one set of conventions."""

    def __init__(self, conventions: Conventions, bottleneck: bool) -> None:
        self._conventions = conventions
        self._bottleneck = bottleneck

    def stem(self, images: Any, stem: StemName) -> Any:
        """The stage conv1."""
        if stem == "cifar":
            return self._relu(
                self._convolution(images, 64, 3, 1, "conv1"), "conv1_relu"
            )
        values = layers.ZeroPadding2D(3, name="conv1_pad")(images)
        values = self._convolution(values, 64, 7, 2, "conv1", padding="valid")
        values = self._relu(values, "conv1_relu")
        # Zeros are as good as torchvision's minus infinity: a ReLU comes before.
        values = layers.ZeroPadding2D(1, name="pool1_pad")(values)
        return layers.MaxPooling2D(3, 2, name="pool1_pool")(values)

    def block(self, values: Any, filters: int, stride: int, name: str) -> Any:
        """A residual block; its shortcut is projected where the shape changes."""
        shortcut = values
        widened = 4 * filters if self._bottleneck else filters
        if stride > 1 or values.shape[-1] != widened:
            shortcut = self._convolution(values, widened, 1, stride, f"{name}_0")
        plan = [(filters, 3), (filters, 3)]
        strided = 1
        if self._bottleneck:
            plan = [(filters, 1), (filters, 3), (widened, 1)]
            strided = self._conventions.strided
        for number, (width, kernel) in enumerate(plan, 1):
            step = stride if number == strided else 1
            values = self._convolution(values, width, kernel, step, f"{name}_{number}")
            if number < len(plan):
                values = self._relu(values, f"{name}_{number}_relu")
        values = layers.Add(name=f"{name}_add")([shortcut, values])
        return self._relu(values, f"{name}_out")

    def _convolution(
        self,
        values: Any,
        filters: int,
        kernel: int,
        stride: int,
        name: str,
        *,
        padding: str = "same",
    ) -> Any:
        """A convolution and its batch norm."""
        if kernel == 3 and stride > 1:
            # Keras's "same" adds nothing before the first row of an even side.
            values = layers.ZeroPadding2D(1, name=f"{name}_pad")(values)
            padding = "valid"
        values = layers.Conv2D(
            filters,
            kernel,
            stride,
            padding,
            use_bias=self._conventions.bias,
            # He et al. 2015, https://arxiv.org/abs/1502.01852, over what goes out
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            name=f"{name}_conv",
        )(values)
        return layers.BatchNormalization(
            epsilon=self._conventions.epsilon,
            momentum=self._conventions.momentum,
            name=f"{name}_bn",
        )(values)

    @staticmethod
    def _relu(values: Any, name: str) -> Any:
        return layers.Activation("relu", name=name)(values)
