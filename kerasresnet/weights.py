"""Where a backbone's weights come from, verified before they are used.

From `weights=` to arrays by Keras's layer names. What does not fit is refused with the
name of the layer, or of the backbone that it fits. Keras is not loaded here.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.catalogue import ARCHITECTURES, PREPROCESSINGS
from kerasresnet.containers import SUFFIXES, kind_of
from kerasresnet.conversion import check_layout, to_keras, to_v1
from kerasresnet.decoding import Pixels
from kerasresnet.downloads import download
from kerasresnet.errors import WeightsError, count_of, listing
from kerasresnet.keras_files import Arrays, read_keras
from kerasresnet.layouts import (
    HEAD,
    Network,
    Shapes,
    classes_of,
    foreign,
    identify,
    layout,
)
from kerasresnet.releases import (
    GENERATIONS,
    PublishedFile,
    backbones_of,
    cache_folder,
    cached,
    published,
    published_as,
)
from kerasresnet.state_dicts import check_torch, read_state_dict

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """Weights that were read and checked, by Keras's layer names.

    Args:
        source: The file that they are from.
        arrays: The arrays of each layer, in the order of the layer's weights.
        preprocessing: What they expect, `"caffe"`, `"torch"` or `"tf"`; None if the file
            does not say, which means what the backbone's published weights expect.
        stem: How the network begins, `"imagenet"` or `"cifar"`, where it is known.
        class_names: Names of the classes that they were trained on, where the file has
            them.
        classes: Number of classes of its head, None without one.
        network: The backbone that they fit as they are, None for none of the table.
        dtypes: The kinds of numbers that the file holds.
        image_size: Height and width of the images that they were trained on, in pixels,
            where the file says so.
        left_out: Names of tensors in the file that belong to no layer.
    """

    source: Path
    arrays: Arrays
    preprocessing: str | None = None
    stem: str | None = None
    class_names: tuple[str, ...] | None = None
    classes: int | None = None
    network: str | None = None
    dtypes: tuple[str, ...] = ("float32",)
    image_size: tuple[int, ...] | None = None
    left_out: tuple[str, ...] = ()

    @property
    def is_torch(self) -> bool:
        """Whether they are from a PyTorch checkpoint."""
        return self.source.suffix.lower() not in (".h5", ".keras")


def open_weights(
    weights: str | Path | None, *, backbone: str, include_top: bool = False
) -> Weights | None:
    """Finds the file that `weights` stands for, downloads it if need be, and reads it.

    Args:
        weights: `"imagenet"`, `"imagenet_v2"`, the path of a `.weights.h5`, `.h5`,
            `.keras` or `.safetensors` file or of a checkpoint of torch (`.pth`,
            `.pth.tar`, `.pt`, `.ckpt`, `.bin`), or None for random weights.
        backbone: Name of the backbone that they are for.
        include_top: Whether the head is wanted, too.

    Returns:
        `Weights` in float32 for that backbone, or None for random weights.

    Raises:
        ValueError: If nothing is published under these names, or `weights` is of another
            type.
        WeightsError: If the file is absent and cannot be downloaded, is not the published
            one, is damaged or hostile, was made for another network, lacks a head that is
            wanted, or needs torch, which is not installed.
    """
    if weights is None:
        return None
    if isinstance(weights, str) and weights in GENERATIONS:
        file = published(backbone, include_top=include_top, generation=weights)
        if file.needs_torch:
            check_torch(file.name)
        found = read_weights(_published_path(file), release=file)
    else:
        found = read_weights(_own_path(weights))
    fitted = _fitted(found, backbone)
    if found.left_out:
        _LOG.warning("%s: left out %s", found.source, listing(found.left_out))
    if include_top:
        _check_head(fitted)
        return fitted
    return _without_head(fitted)


def read_weights(path: Path, *, release: PublishedFile | None = None) -> Weights:
    """Reads a weights file of any kind, and tells what it is.

    Args:
        path: A weights file.
        release: The published file that it is, where that is known.

    Returns:
        `Weights` as they are in the file, by Keras's layer names, in float32.

    Raises:
        WeightsError: If it is absent, damaged or hostile.
    """
    if kind_of(path) in ("hdf5", "keras"):
        return _read_keras(path, release)
    state = read_state_dict(path)
    arrays, left = to_keras(state.arrays, path)
    network = identify(_shapes(arrays))
    if network is None:
        check_layout(arrays, path)
    notes = {"preprocessing": "torch"}
    found = _described(path, arrays, network, notes, state.dtypes)
    return replace(found, left_out=tuple(left))


def assign_weights(layers: Sequence[Any], weights: Weights) -> None:
    """Gives layers their weights, all of them or none.

    Args:
        layers: Keras layers. What else there is in `weights` is ignored.
        weights: What `open_weights` returned.

    Raises:
        WeightsError: If a layer is missing, has another shape, or is not of finite
            floating-point numbers.
    """
    wanted = [layer for layer in layers if layer.weights]
    for layer in wanted:
        _check_fits(layer, weights)
    for layer in wanted:
        layer.set_weights(weights.arrays[layer.name])


def _own_path(weights: object) -> Path:
    expected = (
        f"Expected 'imagenet', 'imagenet_v2', None, or the path of a {SUFFIXES} file."
    )
    if not isinstance(weights, str | os.PathLike):
        raise ValueError(f"weights={weights!r} cannot be used. {expected}")
    path = Path(weights)
    if not path.exists():
        hint = "weights=None stands for random weights. " if weights == "none" else ""
        raise WeightsError(f"The weights file {path} does not exist. {hint}{expected}")
    return path


def _published_path(file: PublishedFile) -> Path:
    path = cached(file)
    if path is None:
        return download(file, cache_folder())
    difference = file.difference(path)
    if difference and path.parent != cache_folder():
        # In torch's own cache, where nothing is checked.
        _LOG.warning("%s is not used: %s.", path, difference)
        return download(file, cache_folder())
    if difference:
        raise WeightsError(
            f"{path} is damaged or is another file: {difference}. Delete it to download it "
            "again, or pass weights=path to use a file of your own."
        )
    return path


def _read_keras(path: Path, release: PublishedFile | None) -> Weights:
    file = read_keras(path)
    arrays = file.arrays
    if file.positional:
        arrays = _by_position(arrays, release or published_as(path))
    dtypes = {str(array.dtype) for found in arrays.values() for array in found}
    network = identify(_shapes(arrays))
    return _described(path, arrays, network, file.notes, tuple(sorted(dtypes)))


def _by_position(arrays: Arrays, release: PublishedFile | None) -> Arrays:
    """Names the layers of published files, which Keras itself loads by position."""
    if release is None or release.is_torch:
        return arrays
    names = [*layout(backbones_of(release)[0]), HEAD]
    if len(names) - len(arrays) not in (0, 1):
        return arrays
    return dict(zip(names, arrays.values(), strict=False))


def _described(
    path: Path,
    arrays: Arrays,
    network: Network | None,
    notes: Mapping[str, Any],
    dtypes: tuple[str, ...],
) -> Weights:
    names = notes.get("class_names")
    preprocessing = notes.get("preprocessing")
    if preprocessing not in (None, *PREPROCESSINGS):
        raise WeightsError(
            f"{path} says that its weights expect {preprocessing!r}; known are "
            f"{', '.join(PREPROCESSINGS)}."
        )
    cast = [dtype for dtype in dtypes if dtype in ("float16", "bfloat16", "float64")]
    if cast:
        _LOG.info("%s holds %s, read as float32", path, listing(cast))
    return Weights(
        path,
        {name: [_float32(array) for array in found] for name, found in arrays.items()},
        preprocessing,
        network.stem if network else notes.get("stem"),
        tuple(map(str, names)) if isinstance(names, list) else None,
        classes_of(_shapes(arrays)),
        network.backbone if network else None,
        dtypes,
        _size_in(notes),
    )


def _size_in(notes: Mapping[str, Any]) -> tuple[int, ...] | None:
    size = notes.get("image_size")
    if isinstance(size, list) and [type(side) for side in size] == [int, int]:
        return tuple(size)
    return None


def _float32(array: Pixels) -> Pixels:
    return array.astype("float32", copy=False) if array.dtype.kind == "f" else array


def _shapes(arrays: Arrays) -> dict[str, Shapes]:
    return {name: tuple(a.shape for a in found) for name, found in arrays.items()}


def _fitted(found: Weights, backbone: str) -> Weights:
    """Returns the weights as a backbone needs them; refuses those of another one."""
    if backbone not in ARCHITECTURES or found.network == backbone:
        return found
    if found.network is None:
        _check_own(found, backbone)
        return found
    row, own = ARCHITECTURES[backbone], ARCHITECTURES[found.network]
    if (own.graph, row.graph) == ("v1.5", "v1") and own.depth == row.depth:
        if found.is_torch and not row.bottleneck:
            arrays = to_v1(found.arrays)
            return replace(found, arrays=arrays, network=backbone)
        why = "convolutions have no bias"
        if row.bottleneck:
            why = (
                "stride is in the 3x3 convolutions: it would give other features there"
            )
        raise WeightsError(
            f"{found.source} does not fit {backbone}, but torchvision's graph, whose {why}. "
            f"Pass backbone={found.network!r}."
        )
    raise WeightsError(
        f"{found.source} holds a {own.title}, not a {row.title}. Pass "
        f"backbone={found.network!r}, or a file made for {backbone}."
    )


def _check_own(found: Weights, backbone: str) -> None:
    # Layers that are missing, or misshapen, are for `assign_weights` to name.
    extra = foreign(found.arrays, backbone)
    if extra:
        raise WeightsError(
            f"{found.source} was made for another network: it has layers that {backbone} "
            f"does not have, {listing(extra, 3)}."
        )


def _check_head(found: Weights) -> None:
    if HEAD not in found.arrays:
        raise WeightsError(
            f"{found.source} holds no classification head. Leave out include_top=True "
            "(imagenet_classifier always wants a head), or pass a file with a head."
        )


def _without_head(found: Weights) -> Weights:
    if HEAD not in found.arrays:
        return found
    if found.classes is not None:
        of = count_of(found.classes, "class", "classes")
        _LOG.info("%s: its head of %s is left out", found.source, of)
    arrays = {name: a for name, a in found.arrays.items() if name != HEAD}
    return replace(found, arrays=arrays)


def _check_fits(layer: Any, weights: Weights) -> None:
    path, found = weights.source, weights.arrays
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
            f"received {received}. {_reason(layer.name, weights, expected)}"
        )
    if any(array.dtype.kind != "f" for array in found[layer.name]):
        kinds = listing(array.dtype for array in found[layer.name])
        raise WeightsError(
            f"{path} holds {kinds} at layer {layer.name!r}, expected floating-point numbers."
        )
    if not all(np.isfinite(array).all() for array in found[layer.name]):
        raise WeightsError(f"{path} holds NaN or infinity at layer {layer.name!r}.")
    if has_negative_variance(layer.name, found[layer.name]):
        raise WeightsError(
            f"{path} holds variances below 0 at layer {layer.name!r}: it is damaged, or no "
            "batch norm of a ResNet. Copy or download it again."
        )


def has_negative_variance(name: str, arrays: Sequence[Pixels]) -> bool:
    """Returns whether the layer is a batch norm that would give NaN.

    Args:
        name: Keras's name of the layer.
        arrays: Its arrays, in Keras's order: the variance is the fourth.
    """
    return name.endswith("_bn") and len(arrays) == 4 and bool((arrays[3] < 0).any())


def _reason(name: str, weights: Weights, expected: Sequence[tuple[int, ...]]) -> str:
    classes = expected[-1][-1]
    if name == HEAD and weights.classes not in (None, classes):
        return (
            f"Its head is for another number of classes: expected {classes:,}, received "
            f"{weights.classes:,}. In build_classifier pass num_classes={weights.classes}, "
            "or leave out include_top=True; imagenet_classifier needs 1,000 classes."
        )
    return "It was made for another network."
