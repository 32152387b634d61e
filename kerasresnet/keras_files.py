"""Reading weights files of Keras, layer by layer, and nothing that lies outside the file.

HDF5 files of Keras 2 and 3, and the ones within `.keras` archives. What fits which network
is the matter of `layouts` and `weights`.
"""

import json
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from kerasresnet.containers import check_sums
from kerasresnet.decoding import Pixels
from kerasresnet.errors import WeightsError

Arrays: TypeAlias = dict[str, list[Pixels]]

# The attribute of a file's root, or their beginning, that says what the weights are.
NOTES = "kerasresnet"
# No ResNet comes near; a damaged or hostile header may claim any size.
_LARGEST = 2**31
_HEAP = b"GCOL\x01\x00\x00\x00"
_MOST_OBJECTS = 100_000
_DEEPEST = 16
# Random numbers hardly shrink. Small arrays may be all zeros.
_MOST_SHRUNK = 100
_ALWAYS_ALLOWED = 2**22


@dataclass(frozen=True)
class KerasFile:
    """What a weights file of Keras holds.

    Args:
        arrays: Arrays of each layer by its name, in the order of the layer's weights.
        notes: What the file says of itself: backbone, stem, preprocessing, class names.
        positional: Whether Keras loads such a file by position, and not by name.
    """

    arrays: Arrays
    notes: dict[str, Any] = field(default_factory=dict)
    positional: bool = False


def read_keras(path: Path) -> KerasFile:
    """Reads the weights of every layer of a file.

    Args:
        path: A `.weights.h5` or `.keras` file of Keras 3, or an `.h5` file of Keras 2,
            whose kind was checked by `containers.kind_of`.

    Returns:
        A `KerasFile`.

    Raises:
        WeightsError: If the file is damaged or hostile, or holds no named layer.
    """
    archived = path.suffix.lower() == ".keras"
    if archived:
        check_sums(path)
    try:
        if archived:
            with zipfile.ZipFile(path) as archive:
                content = archive.read("model.weights.h5")
                notes = _config_notes(json.loads(archive.read("config.json")))
            _check_heaps(content)
            with h5py.File(BytesIO(content), "r") as file:
                return KerasFile(_read_file(file), notes)
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        ):
            _check_heaps(mapped)
        with h5py.File(path, "r") as file:
            return KerasFile(_read_file(file), _root_notes(file), _is_keras2(file))
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
        AttributeError,
        struct.error,
        RecursionError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise WeightsError(
            f"{path} cannot be read as Keras weights: it is damaged, incomplete or of another "
            f"kind ({error})."
        ) from error


def _check_heaps(content: Any) -> None:
    """Refuses texts stored in such a way that HDF5 itself would read them for ever."""
    # HDF5 file format specification 3.0, III.E: the global heap
    start = content.find(_HEAP)
    while start >= 0:
        (size,) = struct.unpack_from("<Q", content, start + 8)
        place, end = start + 16, start + size
        if end > len(content):
            raise ValueError("it is truncated within its texts")
        while end - place >= 16:
            index, _, length = struct.unpack_from("<HH4xQ", content, place)
            # Number 0 is what is free, up to the end; its length counts its header.
            step = length if index == 0 else 16 + -(-length // 8) * 8
            if step < 16 or place + step > end:
                raise ValueError("its texts are damaged")
            place += step
        start = content.find(_HEAP, start + 16)


def _config_notes(config: Any) -> dict[str, Any]:
    if config.get("registered_name") != "kerasresnet>Classifier":
        return {}
    given = config["config"]
    notes = {key: given.get(key) for key in ("backbone", "stem", "preprocessing")}
    if given.get("named"):
        notes["class_names"] = given["class_names"]
    return {key: value for key, value in notes.items() if value is not None}


def _root_notes(file: Any) -> dict[str, Any]:
    # A long text is divided, as HDF5 limits an attribute to 64 KiB.
    names = sorted(name for name in file.attrs if name.partition(".")[0] == NOTES)
    if not names:
        return {}
    notes = json.loads("".join(_text(file.attrs[name]) for name in names))
    if not isinstance(notes, dict):
        raise ValueError(f"its attribute {NOTES!r} is no JSON object")
    return notes


def _read_file(file: Any) -> Arrays:
    datasets = dict(_walk(file))
    if _is_keras2(file):
        return _read_keras2(file.get("model_weights", file), datasets)
    arrays: Arrays = {}
    for path in _variable_groups(datasets):
        name = file[path].attrs.get("name")
        if name and not path.startswith("/optimizer"):
            keys = sorted(file[path], key=int)
            arrays[_text(name)] = [_array(datasets[f"{path}/{key}"]) for key in keys]
    if not arrays:
        raise ValueError(
            "no named layer is stored in it; Keras before 3.8 stored no names"
        )
    return arrays


def _is_keras2(file: Any) -> bool:
    return "layer_names" in file.get("model_weights", file).attrs


def _variable_groups(datasets: dict[str, Any]) -> list[str]:
    parents = dict.fromkeys(path.rpartition("/")[0] for path in datasets)
    return [path for path in parents if path.endswith("/vars")]


def _read_keras2(root: Any, datasets: dict[str, Any]) -> Arrays:
    arrays: Arrays = {}
    base = root.name.rstrip("/")
    for name in (_text(raw) for raw in root.attrs["layer_names"]):
        wanted = [_text(raw) for raw in root[name].attrs["weight_names"]]
        if wanted:
            arrays[name] = [_array(datasets[f"{base}/{name}/{key}"]) for key in wanted]
    return arrays


def _walk(file: Any) -> Iterator[tuple[str, Any]]:
    """Gives the datasets of a file by path; refuses whatever leads out or around."""
    waiting = [("", file)]
    seen = claimed = 0
    while waiting:
        path, group = waiting.pop()
        for name in group:
            seen += 1
            below = f"{path}/{name}"
            if seen > _MOST_OBJECTS or below.count("/") > _DEEPEST:
                raise ValueError("it holds more groups than any network has layers")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{below} is a link, and lies elsewhere or nowhere")
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append((below, item))
            elif isinstance(item, h5py.Dataset):
                claimed += item.nbytes
                if claimed > 2 * _LARGEST:
                    raise ValueError(
                        f"{below} is not an array of weights: with it the file claims "
                        f"{claimed:,} bytes"
                    )
                yield below, item


def _array(dataset: Any) -> Pixels:
    """Reads one array, once its size and place are known to be sound."""
    name = dataset.name
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} lies in another file")
    half = dataset.attrs.get("dtype") == "bfloat16" and dataset.dtype.itemsize == 2
    if dataset.dtype.kind not in "fiu" and not half:
        raise ValueError(f"{name} is not an array of weights")
    stored = dataset.id.get_storage_size()
    chunk = int(np.prod(dataset.chunks or (0,), dtype=object)) * dataset.dtype.itemsize
    claimed = max(dataset.nbytes, chunk)
    if claimed > max(_ALWAYS_ALLOWED, _MOST_SHRUNK * stored) or claimed > _LARGEST:
        raise ValueError(
            f"{name} is not an array of weights: it claims {claimed:,} bytes and stores "
            f"{stored:,}"
        )
    return _from_bfloat16(dataset[()]) if half else np.asarray(dataset)


def _from_bfloat16(values: Any) -> Pixels:
    # The upper half of a float32.
    return (np.asarray(values).view("uint16").astype("uint32") << 16).view("float32")


def _text(raw: str | bytes) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)
