"""A convolution and the still batch normalisation behind it, as one layer.

A batch norm that stands still is a constant scale and shift of what it is given, so
`norm(conv(x))` is `conv(x, kernel * s) + (bias * s + t)`: exact, and so is the gradient
of the kernel. Which layers are folded, and into which graph, is decided in `twins`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kerasresnet.decoding import Pixels

# From so many channels on, as in conv5.
_WIDE = 512


class FoldedConv2D(layers.Layer):
    """A convolution with the still batch normalisation behind it folded in.

    Args:
        convolution: The model's own layer.
        norm: The batch normalisation that follows, or None.
        frozen: Whether kernel and bias are copied as constants. Otherwise they are the
            convolution's own variables.
        strides: Strides, which may differ from the convolution's.
        margins: Rows and columns of zeros to add on each side instead of the
            convolution's own padding, or None for that.
        dtype: `"float32"` or `"bfloat16"`.
    """

    def __init__(
        self,
        convolution: layers.Conv2D,
        norm: layers.BatchNormalization | None,
        *,
        frozen: bool,
        strides: tuple[int, int],
        margins: tuple[int, int] | None = None,
        dtype: str,
    ) -> None:
        # Not cast by Keras: the product with the scale is taken in float32.
        super().__init__(name=convolution.name, dtype=dtype, autocast=False)
        self._strides = strides
        self._margins = margins
        self._padding = "VALID" if margins else convolution.padding.upper()
        self._kernel_shape = tuple(convolution.kernel.shape)
        scale, shift = _scale_and_shift(norm, filters=self._kernel_shape[-1])
        kernel, bias = _float64(convolution.kernel), np.zeros(self._kernel_shape[-1])
        if convolution.use_bias:
            bias = _float64(convolution.bias)
        self._frozen = frozen
        if frozen:
            self._kernel = _constant(kernel * scale, dtype)
            self._bias = _constant(bias * scale + shift, dtype)
        else:
            self.convolution = convolution
            self._scale = _constant(scale, "float32")
            self._shift = _constant(shift, "float32")
        self.built = True

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Returns shape and dtype of the output, without running anything."""
        sides = [self._side(size, axis) for axis, size in enumerate(inputs.shape[1:3])]
        shape = (inputs.shape[0], *sides, self._kernel_shape[-1])
        return keras.KerasTensor(shape, self.compute_dtype)

    def call(self, inputs: Any) -> Any:
        """Returns the normalised convolution.

        Args:
            inputs: Tensor of shape `(N, H, W, channels)`.

        Returns:
            A tensor of the layer's dtype.
        """
        values = tf.cast(inputs, self.compute_dtype)
        if self._margins:
            rows, columns = self._margins
            values = tf.pad(values, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
        kernel, bias = self._folded()
        if not self._frozen and _is_slow_to_train(kernel, self._strides, self._padding):
            return _trained(values, kernel, bias, self._strides, self._padding)
        convolved = tf.nn.conv2d(values, kernel, self._strides, self._padding)
        # BiasAdd, not an addition: TensorFlow fuses it with what comes before and after.
        return tf.nn.bias_add(convolved, bias)

    def _folded(self) -> tuple[Any, Any]:
        if self._frozen:
            return self._kernel, self._bias
        bias = self._shift
        if self.convolution.use_bias:
            bias += self.convolution.bias.value * self._scale
        kernel = self.convolution.kernel.value * self._scale
        return tf.cast(kernel, self.compute_dtype), tf.cast(bias, self.compute_dtype)

    def _side(self, size: int, axis: int) -> int:
        if self._margins:
            size += 2 * self._margins[axis]
        reach = 1 if self._padding == "SAME" else self._kernel_shape[axis]
        return (size - reach) // self._strides[axis] + 1


class StillNorm(layers.Layer):
    """A still batch normalisation with no convolution of its own before it.

    So are the first of each block of ResNet V2: a constant scale and shift, in float32.

    Args:
        norm: The model's own layer.
        dtype: `"float32"` or `"bfloat16"`, of what is returned.
    """

    def __init__(self, norm: layers.BatchNormalization, *, dtype: str) -> None:
        super().__init__(name=norm.name, dtype=dtype, autocast=False)
        channels = norm.moving_mean.shape[0]
        scale, shift = _scale_and_shift(norm, filters=channels)
        self._scale = _constant(scale, "float32")
        self._shift = _constant(shift, "float32")
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns the normalised values, in the layer's dtype."""
        values = tf.cast(inputs, "float32") * self._scale + self._shift
        return tf.cast(values, self.compute_dtype)


class Sum(layers.Layer):
    """The sum of the two branches of a residual block.

    By AddN: the gradient of a plain addition asks for the shapes of both branches, and
    then TensorFlow does not fuse the sum with convolution and activation.

    Args:
        name: Name of the layer.
        dtype: `"float32"` or `"bfloat16"`.
    """

    def __init__(self, *, name: str, dtype: str) -> None:
        super().__init__(name=name, dtype=dtype)
        self.built = True

    def call(self, inputs: Sequence[Any]) -> Any:
        """Returns the sum of tensors of one shape."""
        return tf.add_n(inputs)


class SharedLayer(layers.Layer):
    """A layer of the model in another graph.

    Called directly it would keep that graph alive: Keras notes in a layer where its
    outputs go.

    Args:
        layer: The model's own layer.
    """

    def __init__(self, layer: layers.Layer) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy, autocast=False)
        self.layer = layer
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns what the layer does; Keras passes `training` on to it."""
        return self.layer(inputs)


def _scale_and_shift(
    norm: layers.BatchNormalization | None, *, filters: int
) -> tuple[Pixels, Pixels]:
    if norm is None:
        return np.ones(filters), np.zeros(filters)
    scale = 1 / np.sqrt(_float64(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale *= _float64(norm.gamma)
    shift = -_float64(norm.moving_mean) * scale
    if norm.center:
        shift += _float64(norm.beta)
    return scale, shift


def _float64(variable: Any) -> Pixels:
    return keras.ops.convert_to_numpy(variable).astype("float64")


def _constant(values: Pixels, dtype: str) -> Any:
    return tf.cast(values.astype("float32"), dtype)


def _is_slow_to_train(kernel: Any, strides: tuple[int, int], padding: str) -> bool:
    """Whether TensorFlow's own gradient of this kernel is far under the hardware.

    On a CPU in bfloat16 it reaches a quarter of what matrix products do, in 1x1
    convolutions and in wide ones, whose maps are small.
    """
    if kernel.dtype != tf.bfloat16 or tf.config.list_logical_devices("GPU"):
        return False
    if tuple(kernel.shape[:2]) == (1, 1):
        return True
    odd = all(side % 2 for side in kernel.shape[:2])
    return odd and kernel.shape[2] >= _WIDE and strides == (1, 1) and padding == "SAME"


def _trained(
    values: Any, kernel: Any, bias: Any, strides: tuple[int, int], padding: str
) -> Any:
    """A convolution whose gradients of kernel and bias are matrix products."""

    @tf.custom_gradient
    def convolve(values: Any, kernel: Any, bias: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            to_values = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(values),
                filter=kernel,
                out_backprop=upstream,
                strides=[1, *strides, 1],
                padding=padding,
            )
            given = tf.reshape(upstream, (-1, kernel.shape[3]))
            to_kernel = [
                _product(tf.reshape(window, (-1, kernel.shape[2])), given)
                for window in _windows(values, kernel.shape[:2], strides)
            ]
            ones = tf.ones((tf.shape(given)[0], 1), given.dtype)
            to_bias = tf.matmul(ones, given, transpose_a=True)
            return (
                to_values,
                tf.reshape(tf.stack(to_kernel), kernel.shape),
                tf.reshape(to_bias, bias.shape),
            )

        convolved = tf.nn.conv2d(values, kernel, strides, padding)
        return tf.nn.bias_add(convolved, bias), gradient

    return convolve(values, kernel, bias)


def _windows(values: Any, size: Sequence[int], strides: tuple[int, int]) -> list[Any]:
    """What each element of a kernel is multiplied with, in their order."""
    rows, columns = size
    if (rows, columns) == (1, 1):
        # A pooling of one pixel takes every second row faster than a slice does.
        return [values if strides == (1, 1) else tf.nn.max_pool2d(values, 1, strides, "VALID")]  # fmt: skip
    height, width = values.shape[1:3]
    margins = [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]]
    padded = tf.pad(values, margins)
    return [
        padded[:, row : row + height, column : column + width]
        for row in range(rows)
        for column in range(columns)
    ]


def _product(left: Any, right: Any) -> Any:
    """`left` transposed times `right`, the wider one last, which is faster."""
    if left.shape[1] > right.shape[1]:
        return tf.transpose(tf.matmul(right, left, transpose_a=True))
    return tf.matmul(left, right, transpose_a=True)
