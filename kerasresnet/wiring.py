"""How the layers of a flat graph are connected, and what of a tensor is read.

In ResNet v1 a stage begins with 1x1 convolutions of stride 2: they read every second row
and column of what the stage before made. Nothing else needs to be computed or kept.
"""

from typing import Any

import keras
from keras import layers

from kerasresnet.backbones import Stage, stage_end

_PIXELWISE = (layers.Activation, layers.Add, layers.BatchNormalization, layers.ReLU)


class Wiring:
    """Which layer makes a tensor of a graph, and which layers read it."""

    def __init__(self, model: keras.Model) -> None:
        self._maker: dict[int, Any] = {}
        self._readers: dict[int, list[Any]] = {}
        for layer in model.layers:
            self._maker[id(layer.output)] = layer
            for tensor in inputs_of(layer):
                self._readers.setdefault(id(tensor), []).append(layer)

    def makers(self, layer: Any) -> list[Any]:
        """The layers that make what a layer reads."""
        return [self.maker(tensor) for tensor in inputs_of(layer)]

    def maker(self, tensor: Any) -> Any:
        """The layer that makes a tensor."""
        return self._maker[id(tensor)]

    def readers(self, tensor: Any) -> list[Any]:
        """The layers that read a tensor."""
        return self._readers.get(id(tensor), [])


def inputs_of(layer: Any) -> list[Any]:
    """Returns the tensors that a layer of a flat graph reads."""
    if isinstance(layer, layers.InputLayer):
        return []
    return list(keras.tree.flatten(layer.input))


def is_plain(layer: Any, kernel: tuple[int, int] | None = None) -> bool:
    """Returns whether a layer is a convolution and no more, of a kernel size if given."""
    return (
        isinstance(layer, layers.Conv2D)
        and layer.groups == 1
        and layer.dilation_rate == (1, 1)
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
        and layer.variable_dtype == "float32"
        and not layer.lora_enabled
        and layer.quantization_mode is None
        and kernel in (None, layer.kernel_size)
    )


def norm_behind(wiring: Wiring, convolution: Any) -> layers.BatchNormalization | None:
    """Returns the batch norm that is all that reads a convolution, or None."""
    readers = wiring.readers(convolution.output)
    alone = len(readers) == 1 and isinstance(readers[0], layers.BatchNormalization)
    return readers[0] if alone else None


def feature_shape(model: keras.Model, stage: Stage, every: int) -> tuple[int, ...]:
    """Returns the shape of one image's features of a stage, each n-th row and column."""
    shape = list(stage_end(model, stage).output.shape[1:])
    if every > 1:
        shape[:2] = [-(-side // every) for side in shape[:2]]
    return tuple(shape)


def read_stride_after(model: keras.Model, stage: Stage) -> int:
    """Returns the `read_stride` of what follows a stage."""
    return read_stride(Wiring(model), stage_end(model, stage).output)


def read_stride(wiring: Wiring, values: Any) -> int:
    """Returns n if what follows `values` reads only every n-th row and column, else 1.

    So it is in ResNet v1, whose stages begin with 1x1 convolutions of stride 2.
    """
    readers = wiring.readers(values)
    if not _passes_on(wiring.maker(values)):
        return 1
    strides = {layer.strides for layer in readers if is_plain(layer, kernel=(1, 1))}
    if len(strides) != 1 or not all(
        is_plain(layer, kernel=(1, 1)) for layer in readers
    ):
        return 1
    rows, columns = strides.pop()
    return rows if rows == columns else 1


class Thinning:
    """How to compute only every n-th row and column of what layers make.

    Args:
        wiring: The graph.
    """

    def __init__(self, wiring: Wiring) -> None:
        self.strides: dict[str, tuple[int, int]] = {}
        self.margins: dict[str, tuple[int, int]] = {}
        self._edges: dict[tuple[str, int], int] = {}
        self._wiring = wiring

    def thin(self, layer: Any, every: int) -> None:
        """Has only every n-th row and column of a layer's output computed.

        Walks up from the layer: what works pixel by pixel passes the thinning on to what
        it reads, a convolution takes it over as strides, and a tensor that others read,
        too, is thinned on its way in.
        """
        if isinstance(layer, layers.Conv2D) and layer.kernel_size != (1, 1):
            self.strides[layer.name] = (every, every)
            rows, columns = layer.kernel_size
            self.margins[layer.name] = (rows // 2, columns // 2)
            return
        for i, maker in enumerate(self._wiring.makers(layer)):
            shared = len(self._wiring.readers(maker.output)) > 1
            if shared or not _passes_on(maker):
                self._edges[layer.name, i] = every
            else:
                self.thin(maker, every)

    def thinned(self, layer: Any, arguments: list[Any]) -> list[Any]:
        """Returns what a layer of the twin is given."""
        return [
            _subsampled(values, self._edges[layer.name, i])
            if (layer.name, i) in self._edges
            else values
            for i, values in enumerate(arguments)
        ]


def _passes_on(layer: Any) -> bool:
    if not isinstance(layer, layers.Conv2D):
        return isinstance(layer, _PIXELWISE)
    odd = all(side % 2 for side in layer.kernel_size)
    same = layer.padding == "same" or layer.kernel_size == (1, 1)
    return layer.strides == (1, 1) and odd and same


def _subsampled(values: Any, every: int) -> Any:
    # A pooling of one pixel takes every second row faster than a slice does.
    pooling = layers.MaxPooling2D(1, strides=every, dtype=values.dtype)
    return pooling(values)
