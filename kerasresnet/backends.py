"""What each of Keras's backends does in its own way: gradients, GPUs, values while fitting.

TensorFlow reads the photos, through tf.data on the CPU, whichever backend computes.
"""

import functools
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras

_log = logging.getLogger(__name__)


def backend() -> str:
    """Returns the name of the backend that computes."""
    return str(keras.backend.backend())


@functools.cache
def leave_gpus() -> None:
    """Keeps TensorFlow off the GPUs of another backend, of which it would take all memory.

    To be called before TensorFlow is used: it takes what it sees when it is first.
    """
    if backend() == "tensorflow":
        return
    import tensorflow as tf

    if not tf.config.get_visible_devices("GPU"):
        return
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:
        _log.warning(
            "TensorFlow was used before and may hold GPU memory that the backend %s needs: "
            "call tf.config.set_visible_devices([], 'GPU') before anything else of "
            "TensorFlow.",
            backend(),
        )
    else:
        _log.info(
            "The GPUs are left to the backend %s: TensorFlow reads photos on the CPU.",
            backend(),
        )


def gpu() -> tuple[str, tuple[int, int]] | None:
    """Returns name and compute capability of the GPU that the backend uses, or None."""
    return {"jax": _gpu_of_jax, "torch": _gpu_of_torch}.get(
        backend(), _gpu_of_tensorflow
    )()


def without_gradients() -> AbstractContextManager[Any]:
    """Has nothing kept for gradients: torch keeps it of every call, unless told not to."""
    if backend() != "torch":
        return nullcontext()
    import torch

    context: AbstractContextManager[Any] = torch.no_grad()
    return context


def sync(model: keras.Model) -> None:
    """Brings a model's variables up to date, and lets `fit` take over changes of them.

    On JAX, Keras's `fit` holds the values itself from the first batch of an epoch to its
    end: a callback would read others, and what it assigns would be lost.

    Args:
        model: What is being trained.
    """
    if backend() == "jax":
        model.jax_state_sync()


def gradient(
    function: Callable[[Any], tuple[Any, Any]], values: Any
) -> tuple[Any, Any]:
    """Returns a function's gradient, and what else it returns.

    Args:
        function: Called with a tensor; returns a number and something else.
        values: The tensor.

    Returns:
        A tuple `(gradient, else)`: a tensor of the shape of `values`, and the second that
        `function` returned.

    Raises:
        ValueError: If the backend has no gradients.
    """
    ways = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}
    if backend() not in ways:
        raise ValueError(
            f"The backend {backend()} has no gradients. Set KERAS_BACKEND to one of "
            f"{', '.join(ways)} before keras is imported."
        )
    return ways[backend()](function, values)


def _by_tensorflow(function: Any, values: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(values)
        number, other = function(values)
    return tape.gradient(number, values), other


def _by_jax(function: Any, values: Any) -> tuple[Any, Any]:
    import jax

    (_, other), found = jax.value_and_grad(function, has_aux=True)(values)
    return found, other


def _by_torch(function: Any, values: Any) -> tuple[Any, Any]:
    import torch

    with torch.enable_grad():
        values = values.detach().requires_grad_()
        number, other = function(values)
        (found,) = torch.autograd.grad(number, values)
    return found, other


def _gpu_of_tensorflow() -> tuple[str, tuple[int, int]] | None:
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return None
    details = tf.config.experimental.get_device_details(gpus[0])
    return details.get("device_name", "GPU"), details.get("compute_capability", (0, 0))


def _gpu_of_jax() -> tuple[str, tuple[int, int]] | None:
    import jax

    device = jax.devices()[0]
    if device.platform != "gpu":
        return None
    major, _, minor = str(getattr(device, "compute_capability", "0.0")).partition(".")
    return device.device_kind, (int(major), int(minor or 0))


def _gpu_of_torch() -> tuple[str, tuple[int, int]] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(0), torch.cuda.get_device_capability(0)
