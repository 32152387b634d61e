"""What kind of file a weights file is, before anything opens it.

Size and first bytes decide, and the name must agree. The lists of archives are looked
through without unpacking them. What lies inside is the matter of `keras_files` and
`state_dicts`.
"""

import json
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from kerasresnet.errors import WeightsError

Kind: TypeAlias = Literal["hdf5", "keras", "torch", "pickle", "safetensors"]

# ResNet152 with the state of an optimizer is a quarter of it.
LARGEST = 2**32
_LARGEST_HEADER = 2**24
_HDF5 = b"\x89HDF\r\n\x1a\n"
# Protocols 2 to 5; older ones are text.
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_SUFFIXES: dict[str, tuple[Kind, ...]] = {
    ".h5": ("hdf5",),
    ".keras": ("keras",),
    ".pth": ("torch", "pickle"),
    ".pth.tar": ("torch", "pickle"),
    ".pt": ("torch", "pickle"),
    ".ckpt": ("torch", "pickle"),
    ".bin": ("torch", "pickle"),
    ".safetensors": ("safetensors",),
}
# For messages.
SUFFIXES = ".weights.h5, .h5, .keras, .pth, .pth.tar, .pt, .ckpt, .bin or .safetensors"
TITLES: dict[Kind, str] = {
    "hdf5": "Keras weights (HDF5)",
    "keras": "a saved Keras model",
    "torch": "a PyTorch checkpoint",
    "pickle": "a PyTorch checkpoint in the format before 1.6",
    "safetensors": "a safetensors file",
}
# What zipfile raises for an archive that is damaged, or encrypted.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
# What is found in place of weights, by its first bytes.
_OTHERS = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the file: run `git lfs pull`",
    ),
    (b"<", "is a web page, not the file: download it again, without a login page"),
    (b"{", "is JSON text, not the file: download it again"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"\x93NUMPY", "is a NumPy array"),
)


def kind_of(path: Path) -> Kind:
    """Returns what kind of weights file a file is.

    Args:
        path: A file.

    Returns:
        `"hdf5"`, `"keras"`, `"torch"` (a zip archive), `"pickle"` (torch before 1.6) or
        `"safetensors"`.

    Raises:
        WeightsError: If it is absent, empty, too large, of no such kind, or named like
            another one; or if its list of contents is damaged or hostile.
    """
    _check_place(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
        size = path.stat().st_size
        if size > LARGEST:
            raise WeightsError(
                f"{path} has {size:,} bytes; weights of a ResNet have less than {LARGEST:,}."
            )
        kind = _kind(path, head)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}.") from error
    if kind not in _SUFFIXES[_suffix(path)]:
        raise WeightsError(
            f"{path} is named like another kind of file: by its content it is "
            f"{TITLES[kind]}. Give it its own suffix "
            f"({', '.join(s for s, kinds in _SUFFIXES.items() if kind in kinds)}) if it is "
            "from somebody you trust."
        )
    return kind


def check_sums(path: Path) -> None:
    """Reads an archive through and compares the checksum of each of its members.

    Args:
        path: A file whose kind is `"keras"` or `"torch"`.

    Raises:
        WeightsError: If one differs, or a member cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.serialization.set_crc32_options(False) writes zeros.
            summed = any(info.CRC for info in archive.infolist())
            wrong = archive.testzip() if summed else None
    except _UNREADABLE as error:
        raise WeightsError(
            f"{path} is damaged ({error}). Copy or download it again."
        ) from error
    if wrong is not None:
        raise WeightsError(
            f"{path} is damaged: the checksum of its member {wrong!r} differs. Copy or "
            "download it again."
        )


def safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """Reads and checks the header of a safetensors file.

    Args:
        path: A file of that kind.

    Returns:
        The entries `dtype`, `shape` and `data_offsets` of each tensor by name, and the
        byte at which the data begins.

    Raises:
        WeightsError: If the header is damaged, or tensors overlap or lie outside the file.
    """
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            data = path.stat().st_size - 8 - length
            if length > _LARGEST_HEADER or data < 0:
                raise ValueError(
                    f"its header claims {length:,} bytes, more than there are"
                )
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        spans = sorted(_span(entry) for entry in header.values())
        _check_spans(spans, data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file: {error}. Download or copy it again."
        ) from error
    except struct.error as error:
        raise WeightsError(f"{path} is not a whole safetensors file.") from error
    except RecursionError as error:
        raise WeightsError(
            f"{path} is no safetensors file: its header is nested."
        ) from error
    return header, 8 + length


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    start, stop = entry["data_offsets"]
    numbers = [start, stop, *entry["shape"]]
    whole = all(type(number) is int and number >= 0 for number in numbers)
    if not whole or not isinstance(entry["dtype"], str):
        raise ValueError("an entry of its header is no tensor")
    return start, stop


def _check_spans(spans: list[tuple[int, int]], size: int) -> None:
    # https://huggingface.co/docs/safetensors: no holes, no overlap, nothing behind
    end = 0
    for start, stop in spans:
        if start != end or stop < start:
            raise ValueError("its tensors overlap or leave holes")
        end = stop
    if end > size:
        raise ValueError(
            f"it is truncated: tensors end at byte {end:,}, it has {size:,}"
        )
    if end < size:
        raise ValueError("something stands behind its last tensor")


def _check_place(path: Path) -> None:
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(
            f"The weights file {path} {state}. Expected a {SUFFIXES} file."
        )
    if _suffix(path) not in _SUFFIXES:
        raise WeightsError(
            f"{path} has the suffix {path.suffix!r}; expected a {SUFFIXES} file."
        )


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".pth.tar" if name.endswith(".pth.tar") else path.suffix.lower()


def _kind(path: Path, head: bytes) -> Kind:
    if not head:
        raise WeightsError(f"{path} is empty: 0 bytes. Download or copy it again.")
    if head.startswith(_HDF5):
        return "hdf5"
    if head.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    if head[257:262] == b"ustar":
        raise WeightsError(
            f"{path} is a tar archive, which PyTorch wrote before 2017 and which cannot be "
            "read without running code in it. Where you trust it, save it anew: "
            f"torch.save(torch.load({str(path)!r}, weights_only=False), 'weights.pth')."
        )
    if head[8:9] == b"{":
        return "safetensors"
    if head[:2] in _PICKLES:
        return "pickle"
    raise _other(path, head)


def _other(path: Path, head: bytes) -> WeightsError:
    for start, what in _OTHERS:
        if head.lstrip().startswith(start):
            return WeightsError(f"{path} {what}.")
    return WeightsError(
        f"{path} cannot be read as weights: it is damaged, incomplete or of another kind "
        f"(it begins with {head[:8]!r})."
    )


def _archive_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise WeightsError(
            f"{path} cannot be read: it is damaged, incomplete or of another kind ({error})."
        ) from error
    _check_members(path, infos)
    names = {info.filename for info in infos}
    ends = {name.partition("/")[2] for name in names}
    if {"config.json", "model.weights.h5"} <= names:
        return "keras"
    if "constants.pkl" in ends or any(end.startswith("code/") for end in ends):
        raise WeightsError(
            f"{path} is a TorchScript program, which contains code. Where you trust it, "
            "save its weights alone: "
            f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pth')."
        )
    if "data.pkl" in ends:
        return "torch"
    raise WeightsError(
        f"{path} is a zip archive, but neither a saved Keras model nor a PyTorch checkpoint."
    )


def _check_members(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Refuses names that lead out of the archive, and sizes that cannot be true."""
    for info in infos:
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise WeightsError(
                f"{path} is refused: its member {info.filename!r} leads out of the archive."
            )
        if info.file_size > max(2**20, 100 * info.compress_size):
            raise WeightsError(
                f"{path} is refused: its member {info.filename!r} claims "
                f"{info.file_size:,} bytes and stores {info.compress_size:,}."
            )
    if sum(info.file_size for info in infos) > LARGEST:
        raise WeightsError(f"{path} is refused: it claims more than {LARGEST:,} bytes.")
