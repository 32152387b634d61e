"""The folded twin of a model: the same stages and kernels, without batch normalisation.

Its trunk holds the frozen layers as constants and makes features; its tail holds the
trained layers, which are the model's own variables: training the tail trains the model.
A network that cannot be folded is cut by Keras instead, and computes by its own policy.
"""

import functools
import hashlib
import json
import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from kerasresnet.backbones import STAGES, Stage, stage_end, stage_of
from kerasresnet.backends import backend
from kerasresnet.decoding import Pixels
from kerasresnet.folding import FoldedConv2D, SharedLayer, StillNorm, Sum
from kerasresnet.precision import (
    Precision,
    Resolved,
    check_precision,
    resolve_precision,
)
from kerasresnet.wiring import (
    Thinning,
    Wiring,
    inputs_of,
    is_plain,
    norm_behind,
    read_stride,
)

_WEIGHTLESS = (
    layers.Activation,
    layers.Add,
    layers.MaxPooling2D,
    layers.ReLU,
    layers.ZeroPadding2D,
)
# Part of a trunk's digest: raise it when the same weights give other features than before.
_ARITHMETIC = 1
# Settings of a layer that decide what it computes, beside its weights and its output.
_DECIDING = (
    "activation",
    "axis",
    "dilation_rate",
    "epsilon",
    "groups",
    "interpolation",
    "kernel_size",
    "mode",
    "padding",
    "pool_size",
    "size",
    "strides",
)
_SLOWER = "The model is computed by its own layers, which is slower: %s."
_log = logging.getLogger(__name__)


class Trunk:
    """The layers up to a stage as one fast function of a batch of images.

    Args:
        model: A `Classifier`.
        stage: Last stage of the trunk.
        precision: `"float32"`, `"bfloat16"` or `"auto"`.
        every: Keeps every n-th row and column of the features.
        after: An earlier stage and its `every`, if features of that stage are given
            instead of images.

    Raises:
        ValueError: If `stage` is not a stage of the model, or the network cannot be
            folded and `precision` is not that of its policy.
    """

    def __init__(
        self,
        model: keras.Model,
        stage: Stage,
        precision: Precision = "auto",
        *,
        every: int = 1,
        after: tuple[Stage, int] | None = None,
    ) -> None:
        stage_end(model, stage)  # refuses a stage that the model does not have
        self.stage = stage
        self.every = every
        self.image_size = tuple(model.input.shape[1:3])
        self.precision = precision_of(model, precision)
        self.folded = hindrance(model) is None
        self._model = model
        self._after = after
        self._compiled: dict[Any, Any] = {}

    def build(self) -> None:
        """Builds the layers now, as is needed before a graph that holds them is traced."""
        _ = self.graph

    @functools.cached_property
    def digest(self) -> str:
        """A fingerprint of all that decides what it computes of an image."""
        return trunk_digest(self._model, self.stage)

    @functools.cached_property
    def graph(self) -> keras.Model:
        """The layers, built when they are first used: with a full cache they never are."""
        model, end = self._model, stage_end(self._model, self.stage)
        earlier, skipped = self._after or (None, 1)
        start = model.input if earlier is None else stage_end(model, earlier).output
        if not self.folded:
            return keras.Model(start, end.output)
        ends = (start, end)
        return _folded(
            model,
            ends,
            dtype=self.precision,
            skipped=skipped,
            every=self.every,
            frozen=True,
        )

    def after(self, stage: Stage, every: int) -> "Trunk":
        """Returns the trunk that takes features of an earlier stage instead of images."""
        return Trunk(
            self._model,
            self.stage,
            self.precision,
            every=self.every,
            after=(stage, every),
        )

    def __call__(self, images: Any) -> Any:
        """Returns the features of a tensor of images, in the trunk's precision."""
        return ops.cast(self.graph(images, training=False), self.precision)

    def features(self, images: Pixels) -> Pixels:
        """Returns the features of an array of images.

        Args:
            images: Array `(N, H, W, 3)`, RGB in 0..255. Each new N is compiled anew.

        Returns:
            An array of shape `(N, *shape)`, float32 or bfloat16.
        """
        if backend() != "tensorflow":
            found = self.graph.predict_on_batch(images)
            return found.astype(self.precision, copy=False)
        key = (images.shape, images.dtype)
        if key not in self._compiled:
            self.build()
            # On a GPU the whole graph is worth compiling; a CPU has it fused already.
            on_gpu = bool(tf.config.list_logical_devices("GPU"))
            function = tf.function(self.__call__, jit_compile=on_gpu, autograph=False)
            self._compiled[key] = function.get_concrete_function(tf.TensorSpec(*key))
        return self._compiled[key](tf.convert_to_tensor(images)).numpy()


class Twin:
    """What stands for a model while it is trained: frozen trunk, trained tail.

    Args:
        model: A `Classifier` that can be folded or has a trunk, with its flags set.
        trunk: The frozen part, or None if the network is trained from its input.
        precision: `"float32"` or `"bfloat16"`.

    Raises:
        ValueError: If a layer of the trunk is trained.
    """

    def __init__(
        self, model: keras.Model, trunk: Trunk | None, precision: Resolved
    ) -> None:
        start, skipped = model.input, 1
        if trunk is not None:
            _refuse_trained(model, trunk.stage)
            start, skipped = stage_end(model, trunk.stage).output, trunk.every
        self._model = model
        self._trunk = trunk
        self._frozen = self._frozen_sums()
        if hindrance(model) is None:
            ends = (start, model.get_layer("predictions"))
            self._tail = _folded(
                model, ends, dtype=precision, skipped=skipped, frozen=False
            )
        else:
            self._tail = keras.Model(start, model.output)

    def __call__(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Returns class probabilities.

        Args:
            inputs: `{"features": …}`, or `{"images": …}` for the trunk to see first.
            training: As in Keras.

        Returns:
            A tensor of shape `(N, classes)`.
        """
        values = inputs.get("features")
        if values is None:
            values = inputs["images"] if self._trunk is None else self._trunk(inputs["images"])  # fmt: skip
        return self._tail(values, training=training)

    def check_frozen(self) -> None:
        """Raises a `RuntimeError` if frozen weights are not what they were.

        What was computed of them, features and constants, would be stale.
        """
        if not np.array_equal(self._frozen, self._frozen_sums(), equal_nan=True):
            raise RuntimeError(
                "Frozen weights were changed while the model was trained, by a callback that "
                "loads weights or restores a backup, and the features were computed with those "
                "before. Load the weights first, then call fit."
            )

    def _frozen_sums(self) -> Pixels:
        sums = [
            float(ops.sum(ops.cast(weight, "float32")))
            for layer in self._model.layers
            if stage_of(layer.name) is not None and not layer.trainable
            for weight in layer.weights
        ]
        return np.array(sums)


def hindrance(model: keras.Model) -> str | None:
    """Returns why a model cannot be folded, or None if it can."""
    if backend() != "tensorflow":
        return f"the backend is {backend()}"
    for layer in model.layers:
        if stage_of(layer.name) is None or isinstance(layer, _WEIGHTLESS):
            continue
        if isinstance(layer, layers.BatchNormalization):
            if layer.trainable:
                return f"batch normalisation {layer.name!r} is trained"
            if layer.axis not in (-1, 3):
                return f"batch normalisation {layer.name!r} works on axis {layer.axis}"
        elif not is_plain(layer):
            return (
                f"{layer.name!r} is a {type(layer).__name__} with settings of its own"
            )
    return None


def precision_of(model: keras.Model, precision: Precision) -> Resolved:
    """Returns what a model's twin computes in.

    Args:
        model: A `Classifier`.
        precision: As in `fit`.

    Returns:
        `"float32"` or `"bfloat16"`; for a network that cannot be folded what its policy
        says.

    Raises:
        ValueError: If such a network was built under another policy than `precision`.
    """
    reason = hindrance(model)
    if reason is None or precision != model.compute_dtype:
        check_precision(precision)
    if reason is None:
        return resolve_precision(precision, model.compute_dtype)
    if precision not in ("auto", model.compute_dtype):
        policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
        raise ValueError(
            f"precision={precision!r}, but the model computes in {model.compute_dtype} and "
            f"cannot be folded: {reason}. Call keras.config.set_dtype_policy({policy!r}) "
            "before building it."
        )
    if backend() != "tensorflow":
        _report_backend(reason)
    elif precision == "auto":
        _log.warning(_SLOWER, reason)
    computed: Resolved = model.compute_dtype
    return computed


@functools.cache
def _report_backend(reason: str) -> None:
    # Once for each process: another one would have to be started to change it.
    _log.warning(_SLOWER, reason)


def _refuse_trained(model: keras.Model, stage: Stage) -> None:
    for layer in model.layers:
        found = stage_of(layer.name)
        if (
            found is not None
            and layer.trainable_weights
            and STAGES.index(found) <= STAGES.index(stage)
        ):
            raise ValueError(
                f"Stage {stage!r} cannot be the frozen part: {layer.name!r} is trained, and "
                "features that were computed once would go stale. Freeze that layer, or cut "
                "the network further up."
            )


def trunk_digest(model: keras.Model, stage: Stage) -> str:
    """Returns a fingerprint of all that decides what the layers up to a stage compute."""
    found = hashlib.sha256(f"arithmetic {_ARITHMETIC}".encode())
    for layer in keras.Model(model.input, stage_end(model, stage).output).layers:
        config = {k: v for k, v in layer.get_config().items() if k in _DECIDING}
        # Keras numbers layers without a name through, in every model anew.
        name = layer.name if stage_of(layer.name) else None
        described = [type(layer).__name__, name, layer.output.shape, config]
        found.update(json.dumps(described, sort_keys=True, default=str).encode())
        for weight in layer.weights:
            found.update(ops.convert_to_numpy(weight).tobytes())
    return found.hexdigest()


def _folded(
    model: keras.Model,
    ends: tuple[Any, Any],
    *,
    dtype: str,
    skipped: int = 1,
    every: int = 1,
    frozen: bool,
) -> keras.Model:
    """The folded graph from a tensor of the model to a layer, on a new input.

    Args:
        model: A model that can be folded.
        ends: The tensor that is given, and the layer that is wanted.
        dtype: What it computes in.
        skipped: Only every n-th row and column of the tensor is given.
        every: Only every n-th row and column of the layer's output is wanted.
        frozen: Whether trained layers are constants, too.
    """
    start, end = ends
    wiring = Wiring(model)
    thinning = Thinning(wiring)
    if every > 1:
        thinning.thin(end, every)
    shape = list(start.shape[1:])
    thinned = [start] if skipped > 1 else []
    if skipped > 1:
        shape[:2] = [-(-side // skipped) for side in shape[:2]]
    between = _between(model, start, end)
    for layer in between[:-1]:
        # What the next stage does not read, is not computed: 10 % of ResNet50's work.
        stride = read_stride(wiring, layer.output)
        if stride > 1:
            thinning.thin(layer, stride)
            thinned.append(layer.output)
    strides = dict(thinning.strides)
    for values in thinned:
        strides.update({layer.name: (1, 1) for layer in wiring.readers(values)})
    twin_of = _Folding(wiring, dtype, strides, thinning.margins, frozen=frozen)
    given = keras.Input(shape, dtype="float32" if start is model.input else dtype)
    values = {id(start): given}
    for layer in between:
        read = [values[id(tensor)] for tensor in inputs_of(layer)]
        arguments = thinning.thinned(layer, read)
        values[id(layer.output)] = twin_of(layer)(
            arguments if len(arguments) > 1 else arguments[0]
        )
    return keras.Model(given, values[id(end.output)], name=f"{model.name}_folded")


def _between(model: keras.Model, start: Any, end: Any) -> list[Any]:
    """The layers that lead from a tensor to a layer, in the order of their work."""
    known = {id(start)}
    found = []
    for layer in model.layers:
        tensors = inputs_of(layer)
        if tensors and all(id(tensor) in known for tensor in tensors):
            known.add(id(layer.output))
            found.append(layer)
        if layer is end:
            break
    return found


class _Folding:
    """What stands in the twin for a layer of the model."""

    def __init__(
        self,
        wiring: Wiring,
        dtype: str,
        strides: dict[str, tuple[int, int]],
        margins: dict[str, tuple[int, int]],
        *,
        frozen: bool,
    ) -> None:
        self._wiring = wiring
        self._dtype = dtype
        self._strides = strides
        self._margins = margins
        self._frozen = frozen

    def __call__(self, layer: Any) -> Any:
        if stage_of(layer.name) is None and not isinstance(layer, _WEIGHTLESS):
            return SharedLayer(layer)  # preprocessing and head: as they are, in float32
        if isinstance(layer, layers.BatchNormalization):
            (maker,) = self._wiring.makers(layer)
            if is_plain(maker) and norm_behind(self._wiring, maker) is layer:
                return _identity
            return StillNorm(layer, dtype=self._dtype)
        if isinstance(layer, layers.Conv2D):
            return FoldedConv2D(
                layer,
                norm_behind(self._wiring, layer),
                frozen=self._frozen or not layer.trainable,
                strides=self._strides.get(layer.name, layer.strides),
                margins=self._margins.get(layer.name),
                dtype=self._dtype,
            )
        if isinstance(layer, layers.Add):
            return Sum(name=layer.name, dtype=self._dtype)
        config = {**layer.get_config(), "dtype": self._dtype}
        return type(layer).from_config(config)


def _identity(values: Any) -> Any:
    return values
