"""Where a backbone's weights come from, verified before they are used.

Files are read layer by layer, by name; what does not fit is refused with the name of
the layer. Which layers a network has is not known here; see `backbones`.
"""

import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import keras
import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.errors import WeightsError

Arrays: TypeAlias = dict[str, list[Pixels]]

_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
_SUFFIXES = (".h5", ".keras")
# No layer of a ResNet comes near; a damaged or hostile header may claim any size.
_LARGEST = 2**31


@dataclass(frozen=True)
class PinnedFile:
    """A file that Keras publishes: its name, and the MD5 that Keras pins for it."""

    name: str
    md5: str

    @property
    def url(self) -> str:
        """Where it is downloaded from."""
        return _URL + self.name


# By backbone and whether the 1000-class head is included.
# keras/src/applications/resnet.py: WEIGHTS_HASHES
PINNED = {
    ("resnet50", True): PinnedFile(
        "resnet50_weights_tf_dim_ordering_tf_kernels.h5",
        "2cb95161c43110f7111970584f804107",
    ),
    ("resnet50", False): PinnedFile(
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
}


def cache_folder() -> Path:
    """Returns the folder where Keras keeps downloaded weights.

    That is `models` below `KERAS_HOME`, by default below `~/.keras`.
    """
    home = os.environ.get("KERAS_HOME")
    return Path(home or "~/.keras").expanduser() / "models"


def is_cached(backbone: str, *, include_top: bool = False) -> bool:
    """Returns whether the ImageNet weights of a backbone lie in Keras's cache."""
    return (cache_folder() / PINNED[backbone, include_top].name).is_file()


def locate_weights(
    weights: str | Path | None, *, backbone: str, include_top: bool = False
) -> Path | None:
    """Finds the file that `weights` stands for, and downloads it if need be.

    Args:
        weights: `"imagenet"`, the path of a `.weights.h5`, `.h5` or `.keras` file, or
            None for random weights.
        backbone: Name of the backbone.
        include_top: Whether the 1000-class head is wanted too.

    Returns:
        A path, or None for random weights.

    Raises:
        WeightsError: If the file is absent and cannot be downloaded, or is not the
            published one.
    """
    if weights is None:
        return None
    if weights == "imagenet":
        return _imagenet(PINNED[backbone, include_top])
    path = Path(weights)
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(
            f"The weights file {path} {state}. Expected 'imagenet', None, or the path of a "
            ".weights.h5, .h5 or .keras file."
        )
    if path.suffix not in _SUFFIXES:
        raise WeightsError(
            f"{path} has the suffix {path.suffix!r}; weights are read from .weights.h5, .h5 "
            "and .keras files."
        )
    return path


def assign_weights(layers: Sequence[Any], path: Path) -> None:
    """Gives layers the weights of a file, all of them or none.

    Args:
        layers: Keras layers. Layers of the file that are not among them are ignored.
        path: A file from `locate_weights`.

    Raises:
        WeightsError: If the file cannot be read, lacks a layer, or holds another shape.
    """
    found = read(path)
    wanted = [layer for layer in layers if layer.weights]
    if _md5(path) in {file.md5 for file in PINNED.values()}:
        # The published files are stored in the order of Keras's own graph, and Keras
        # itself loads them by position.
        found = _by_position(found, wanted)
    for layer in wanted:
        _check_fits(layer, found, path)
    for layer in wanted:
        layer.set_weights(found[layer.name])


def read(path: Path) -> Arrays:
    """Reads the weights of every layer of a file.

    Args:
        path: A `.weights.h5` or `.keras` file of Keras 3, or an `.h5` file of Keras 2.

    Returns:
        A dict from layer name to its arrays, in the order of the layer's weights.

    Raises:
        WeightsError: If the file is damaged or of another kind.
    """
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                stream = BytesIO(archive.read("model.weights.h5"))
            with h5py.File(stream, "r") as file:
                return _read_file(file)
        with h5py.File(path, "r") as file:
            return _read_file(file)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{path} cannot be read as Keras weights: it is damaged, incomplete or of another "
            f"kind ({error})."
        ) from error


def _imagenet(file: PinnedFile) -> Path:
    path = cache_folder() / file.name
    if path.is_file():
        found = _md5(path)
        if found != file.md5:
            raise WeightsError(
                f"{path} is damaged or is another file: its MD5 is {found}, expected "
                f"{file.md5}. Delete it to download it again, or pass weights=path to use a "
                "file of your own."
            )
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        downloaded = keras.utils.get_file(
            file.name,
            file.url,
            cache_dir=str(path.parent.parent),
            cache_subdir=path.parent.name,
            file_hash=file.md5,
        )
        return Path(downloaded)
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise WeightsError(
            "The ImageNet weights are not on this machine and could not be downloaded "
            f"({error}). "
            f"Get {file.url} (MD5 {file.md5}) elsewhere and put it into {path.parent}; or pass "
            "weights='path/to/file.h5' for a file of your own, or weights=None to start from "
            "random weights."
        ) from error


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def _read_file(file: Any) -> Arrays:
    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:
        return _read_keras2(root)
    arrays: Arrays = {}

    def visit(path: str, group: Any) -> None:
        name = group.attrs.get("name")
        if path.split("/")[-1] == "vars" and name and not path.startswith("optimizer"):
            keys = sorted(group, key=int)
            if keys:
                arrays[str(name)] = [_array(group, key) for key in keys]

    file.visititems(visit)
    if not arrays:
        raise ValueError(
            "no named layer is stored in it; Keras before 3.8 stored no names"
        )
    return arrays


def _read_keras2(root: Any) -> Arrays:
    arrays: Arrays = {}
    for name in (_text(raw) for raw in root.attrs["layer_names"]):
        group = root[name]
        stored = [_array(group, _text(raw)) for raw in group.attrs["weight_names"]]
        if stored:
            arrays[name] = stored
    return arrays


def _array(group: Any, key: str) -> Pixels:
    """Reads one array, and nothing that lies outside the file."""
    dataset = group[key]
    foreign = isinstance(group.get(key, getlink=True), h5py.ExternalLink)
    if foreign or dataset.external or dataset.is_virtual:
        raise ValueError(f"{key} lies in another file")
    if dataset.dtype.kind not in "fiu" or dataset.nbytes > _LARGEST:
        raise ValueError(f"{key} is not an array of weights")
    return np.asarray(dataset)


def _text(raw: str | bytes) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)


def _by_position(found: Arrays, layers: Sequence[Any]) -> Arrays:
    return {
        layer.name: stored
        for layer, stored in zip(layers, found.values(), strict=False)
    }


def _check_fits(layer: Any, found: Arrays, path: Path) -> None:
    if layer.name not in found and layer.name == "predictions":
        raise WeightsError(
            f"{path} holds no classification head. imagenet_classifier needs a file with "
            "the 1000-class head; build_classifier takes this one."
        )
    if layer.name not in found:
        raise WeightsError(
            f"{path} has no layer {layer.name!r}; its layers are "
            f"{', '.join(list(found)[:3])}, …. It was made for another network."
        )
    expected = [tuple(weight.shape) for weight in layer.weights]
    received = [array.shape for array in found[layer.name]]
    if expected != received:
        raise WeightsError(
            f"{path} does not fit at layer {layer.name!r}: expected shapes {expected}, "
            f"received {received}. It was made for another network."
        )
    if not all(np.isfinite(array).all() for array in found[layer.name]):
        raise WeightsError(f"{path} holds NaN or infinity at layer {layer.name!r}.")
