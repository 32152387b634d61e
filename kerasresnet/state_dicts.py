"""Reading PyTorch checkpoints into named arrays, without running anything in them.

Torch's own files through `torch.load(weights_only=True)`; safetensors by NumPy alone. What
the names stand for is the matter of `conversion`.
"""

import argparse
import importlib
import importlib.util
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.containers import check_sums, kind_of, safetensors_header
from kerasresnet.decoding import Pixels
from kerasresnet.errors import WeightsError, listing

# Where training scripts put the weights, the best first: averaged ones are what they
# report.
_NESTS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
)
# Counters beside the weights.
_COUNTERS = ("num_batches_tracked", "n_averaged")
# torch.load(weights_only=True) ran code before it: CVE-2025-32434
_OLDEST_TORCH = (2, 6)
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "uint16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class StateDict:
    """The tensors of a checkpoint.

    Args:
        arrays: Arrays by the name of the tensor; float32, or integers as they are.
        dtypes: The kinds of numbers that the file holds, such as `("float16",)`.
    """

    arrays: dict[str, Pixels]
    dtypes: tuple[str, ...]


def read_state_dict(path: Path) -> StateDict:
    """Reads the tensors of a PyTorch checkpoint.

    Args:
        path: A `.safetensors` file, or a checkpoint of torch (`.pth`, `.pth.tar`, `.pt`,
            `.ckpt`, `.bin`).

    Returns:
        A `StateDict`. Counters of batches are left out, half precision is cast.

    Raises:
        WeightsError: If the file is damaged or holds something else, needs code to be
            run, or torch is needed and not installed.
    """
    kind = kind_of(path)
    if kind == "torch":
        check_sums(path)
    if kind == "safetensors":
        found = _read_safetensors(path)
    else:
        found = _read_torch(path, mapped=kind == "torch")
    if not found:
        raise WeightsError(f"{path} holds no tensors.")
    dtypes = sorted({dtype for dtype, _ in found.values() if "float" in dtype})
    return StateDict({name: array for name, (_, array) in found.items()}, tuple(dtypes))


def _read_safetensors(path: Path) -> dict[str, tuple[str, Pixels]]:
    header, start = safetensors_header(path)
    found = {}
    with path.open("rb") as stream:
        for name, entry in header.items():
            dtype = _DTYPES.get(entry["dtype"])
            if dtype is None:
                raise WeightsError(
                    f"{path} holds {entry['dtype']} numbers at {name!r}; expected F64, F32, "
                    "F16 or BF16."
                )
            first, last = entry["data_offsets"]
            shape = tuple(entry["shape"])
            if math.prod(shape) * np.dtype(dtype).itemsize != last - first:
                raise WeightsError(
                    f"{path} is damaged at {name!r}: shape {shape} of {entry['dtype']} does "
                    f"not take {last - first:,} bytes."
                )
            stream.seek(start + first)
            array = np.frombuffer(stream.read(last - first), dtype).reshape(shape)
            if not name.endswith(_COUNTERS):
                found[name] = _cast(array, entry["dtype"])
    return found


def _cast(array: Pixels, dtype: str) -> tuple[str, Pixels]:
    if dtype == "BF16":
        # The upper half of a float32.
        return "bfloat16", (array.astype("uint32") << 16).view("float32")
    if array.dtype.kind == "f":
        return str(array.dtype), array.astype("float32")
    return str(array.dtype), np.array(array)


def check_torch(path: str | Path) -> None:
    """Raises the error for a missing torch, which is not imported for it.

    Args:
        path: The checkpoint that needs it.

    Raises:
        WeightsError: If torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise _without_torch(path)


def _without_torch(path: str | Path) -> WeightsError:
    return WeightsError(
        f"{path} is a PyTorch checkpoint, and reading it needs PyTorch. Install it: pip "
        "install torch (2.6 or newer); or save the weights as safetensors where PyTorch "
        "is, which needs nothing here."
    )


def _read_torch(path: Path, *, mapped: bool) -> dict[str, tuple[str, Pixels]]:
    torch = _torch(path)
    tensors = {
        str(name): tensor
        for name, tensor in _nested(_load(torch, path, mapped), path, torch).items()
        if not str(name).endswith(_COUNTERS)
    }
    _check_claims(tensors, path, torch)
    found = {}
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if tensor.is_floating_point():
            tensor = tensor.float()
        found[name] = dtype, np.array(tensor.detach().numpy())
    return found


def _check_claims(tensors: Mapping[str, Any], path: Path, torch: Any) -> None:
    """Refuses tensors that are no plain arrays, or views larger than what is stored."""
    size = path.stat().st_size
    claimed = 0
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise WeightsError(
                f"{path} holds a sparse, quantized or empty tensor at {name!r}."
            )
        claimed += tensor.numel() * tensor.element_size()
        # Two names may share what is stored; thousands are a bomb.
        if claimed > 4 * size:
            raise WeightsError(
                f"{path} is refused: at {name!r} its tensors claim {claimed:,} bytes, and "
                f"the file has {size:,}."
            )


def _torch(path: Path) -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise _without_torch(path) from error
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _OLDEST_TORCH:
        raise WeightsError(
            f"Reading {path} needs PyTorch 2.6 or newer, received {torch.__version__}: older "
            "ones may run code in the file. pip install --upgrade torch."
        )
    return torch


def _load(torch: Any, path: Path, mapped: bool) -> Any:
    # Training scripts of torchvision and timm save their arguments so. Setting the
    # attributes of a namespace runs no code.
    harmless = torch.serialization.safe_globals([argparse.Namespace])
    try:
        with harmless:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many kinds for a damaged file
        text = str(error)
        if "Unsupported" in text or "weights_only" in text or "GLOBAL" in text:
            raise WeightsError(
                f"{path} is not read: besides tensors it needs Python classes "
                f"({_class_in(text)}), which may run code. {_way_on(path)}"
            ) from error
        raise WeightsError(
            f"{path} cannot be read as a PyTorch checkpoint: it is damaged or incomplete "
            f"({text.splitlines()[0] if text else type(error).__name__})."
        ) from error


def _way_on(path: Path) -> str:
    loaded = f"torch.load({str(path)!r}, weights_only=False)"
    return (
        "Where you trust the file, save its weights alone and pass the new file: "
        f"torch.save({loaded}['model'], 'weights.pth') for what a training script saved "
        "('model', or the key that it uses), "
        f"torch.save({loaded}.state_dict(), 'weights.pth') for a whole model."
    )


def _class_in(text: str) -> str:
    words = text.partition("GLOBAL ")[2].split()
    return words[0] if words else "torch names none"


def _nested(loaded: Any, path: Path, torch: Any) -> Mapping[Any, Any]:
    """Returns the mapping of names to tensors within what a training script saved."""
    for _ in range(4):
        if not isinstance(loaded, Mapping):
            break
        tensors = {k: v for k, v in loaded.items() if isinstance(v, torch.Tensor)}
        inner = [
            key
            for key in _NESTS
            if isinstance(loaded.get(key), Mapping) and loaded[key]
        ]
        if not inner:
            if tensors:
                return tensors
            break
        if len(inner) > 1:
            _LOG.info("%s: took %s, not %s", path, inner[0], " and ".join(inner[1:]))
        loaded = loaded[inner[0]]
    keys = listing(loaded) if isinstance(loaded, Mapping) else type(loaded).__name__
    raise WeightsError(
        f"{path} holds no state dict, but {keys}. Expected tensors by name, or these under "
        f"one of {', '.join(_NESTS[3:7])}."
    )
