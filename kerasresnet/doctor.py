"""What this machine offers: versions, devices, weights, and what keeps a GPU away."""

import ctypes
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import tensorflow as tf

from kerasresnet.backends import backend, gpu
from kerasresnet.disk import cache_root
from kerasresnet.precision import bfloat16_device
from kerasresnet.releases import PublishedFile, cache_folder, cached, releases
from kerasresnet.upkeep import state

_PACKAGES = ("kerasresnet", "keras", "tensorflow", "numpy", "pillow", "matplotlib")
# What TensorFlow 2.21 opens for a GPU, by the pip package that brings it.
# https://www.tensorflow.org/install/pip: CUDA 12, cuDNN 9
_GPU_LIBRARIES = {
    "libcudart.so.12": "nvidia/cuda_runtime",
    "libcublas.so.12": "nvidia/cublas",
    "libcublasLt.so.12": "nvidia/cublas",
    "libcudnn.so.9": "nvidia/cudnn",
    "libcufft.so.11": "nvidia/cufft",
    "libcusolver.so.11": "nvidia/cusolver",
    "libcusparse.so.12": "nvidia/cusparse",
}


def examine() -> dict[str, str]:
    """Looks at the machine.

    Returns:
        A dict from subject to finding, in the order to show them.
    """
    found = {"python": f"{platform.python_version()} on {platform.platform()}"}
    found |= {name: _version(name) for name in _PACKAGES}
    found["backend"] = _backend()
    found["cpu"] = f"{os.cpu_count()} cores"
    found["gpu"] = gpu_state()
    found["precision"] = _precision()
    found["feature cache"] = state(cache_root())
    found["weights cache"] = str(cache_folder())
    found["weights cached"] = _cached_weights()
    return found


def gpu_state() -> str:
    """Returns whether the backend sees a GPU, and if TensorFlow does not, why."""
    if backend() != "tensorflow":
        card = gpu()
        return f"{backend()} sees {card[0] if card else 'none'}"
    seen = tf.config.list_physical_devices("GPU")
    if seen:
        names = [
            tf.config.experimental.get_device_details(device).get(
                "device_name", device.name
            )
            for device in seen
        ]
        return f"TensorFlow sees {len(seen)}: {', '.join(names)}"
    if sys.platform != "linux":
        return "none; TensorFlow uses NVIDIA GPUs on Linux (on Windows through WSL2)"
    if not _opens("libcuda.so.1"):
        return "none: no NVIDIA driver on this machine (libcuda.so.1 is not there)"
    if not tf.test.is_built_with_cuda():
        return "a driver is there, but this TensorFlow is a CPU build. pip install '.[gpu]'"
    missing = missing_gpu_libraries()
    if missing:
        return (
            f"a driver is there, but TensorFlow cannot open {', '.join(missing)}. "
            "pip install '.[gpu]' brings them"
        )
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden in ("", "-1"):
        return (
            f"a driver is there, but CUDA_VISIBLE_DEVICES={hidden!r} hides its devices"
        )
    return (
        "driver and libraries are there, but TensorFlow sees no device: the driver may be "
        "too old for CUDA 12 (nvidia-smi shows its version)"
    )


def missing_gpu_libraries() -> list[str]:
    """Returns the CUDA libraries that neither the system nor a pip package has."""
    roots = [Path(entry) for entry in sys.path if entry]
    return [
        library
        for library, package in _GPU_LIBRARIES.items()
        if not _opens(library)
        and not any((root / package / "lib" / library).is_file() for root in roots)
    ]


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def _backend() -> str:
    # Imported here so that the order of the report is the order of the work.
    import keras

    return f"{keras.backend.backend()}, dtype policy {keras.config.dtype_policy().name}"


def _precision() -> str:
    if backend() != "tensorflow":
        return f"by the dtype policy: on {backend()} the model's own layers compute"
    device = bfloat16_device()
    if device is None:
        return "'auto' is float32: no bfloat16 instructions were found"
    return f"'auto' is bfloat16: {device}"


def _cached_weights() -> str:
    here = {file: path for file in releases() if (path := cached(file)) is not None}
    states = [_cached_state(file, path) for file, path in here.items()]
    return "; ".join(states) or "none of the published files"


def _cached_state(file: PublishedFile, path: Path) -> str:
    difference = file.difference(path)
    return (
        f"{path} is damaged: {difference}" if difference else f"{file.name}, complete"
    )
