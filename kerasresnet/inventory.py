"""The weights files on this machine as their owner sees them.

Lines of text for `kerasresnet weights`. What is published is the matter of `releases`,
how files are read that of `weights`. Keras is not loaded.
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kerasresnet.catalogue import ARCHITECTURES
from kerasresnet.containers import TITLES, check_sums, kind_of
from kerasresnet.disk import listed, size_of, write_aside
from kerasresnet.downloads import MIRROR
from kerasresnet.errors import WeightsError, count_of, listing
from kerasresnet.layouts import trunk_of
from kerasresnet.releases import (
    PINNED_V2,
    PublishedFile,
    backbones_of,
    cache_folder,
    cached,
    file_digest,
    published_as,
    releases,
    torch_folder,
)
from kerasresnet.upkeep import size_text
from kerasresnet.weights import Weights, has_negative_variance, read_weights

_UNKNOWN = "unknown: none of the published files"


def answer(action: str, file: Path | None) -> tuple[list[str], bool]:
    """Does what `kerasresnet weights` is asked for.

    Args:
        action: `"list"`, `"where"`, `"import"` or `"verify"`.
        file: The file to import or verify; None to verify what is cached.

    Returns:
        The lines of the answer, and whether all is well.

    Raises:
        WeightsError: If `file` is no weights file, or cannot be imported.
    """
    if action == "list":
        return list(_stock()), True
    if action == "where":
        return list(_places()), True
    if file is None:
        return _check_cached()
    if action == "import":
        return [import_file(file)], True
    return examine_file(file)


def import_file(path: Path) -> str:
    """Copies a published file into the cache, under its published name.

    Args:
        path: A file, under any name with a suffix of weights files.

    Returns:
        What was done, in a line.

    Raises:
        WeightsError: If it is none of the published files, or the cache cannot be
            written. Then nothing has changed.
    """
    kind_of(path)
    file = published_as(path)
    pretended = _pretended(path)
    if file is None and pretended:
        raise WeightsError(
            f"{path} has the name of a published file, but is damaged or is another file: "
            f"{pretended[0].difference(path)}. It was not imported; do not use it. Get "
            f"{pretended[0].url} again."
        )
    if file is None:
        raise WeightsError(
            f"{path} is none of the published files (its SHA-256 is "
            f"{file_digest(path, 'sha256')}), and was not imported. Use it as it is: "
            "weights='path/to/file' or --weights FILE."
        )
    target = cache_folder() / file.name
    if target.is_file() and not file.difference(target):
        return f"{target} is there already, and complete"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source:
            write_aside(target, lambda out: shutil.copyfileobj(source, out))
    except OSError as error:
        raise WeightsError(
            f"The weights folder {target.parent} cannot be written ({error}). Set KERAS_HOME "
            "to a folder that can."
        ) from error
    return (
        f"imported {path} as {target} ({file.digest}), for backbone "
        f"{' and '.join(backbones_of(file))}"
    )


def examine_file(path: Path) -> tuple[list[str], bool]:
    """Tells what a weights file is.

    Args:
        path: A file.

    Returns:
        Lines of subjects and findings, and whether nothing is wrong with it.

    Raises:
        WeightsError: If it is no weights file, or is damaged or hostile.
    """
    kind = kind_of(path)
    release = published_as(path)
    found = {
        "file": f"{path}, {size_text(size_of(path))}",
        "kind": TITLES[kind],
        "SHA-256": file_digest(path, "sha256"),
        "published as": _UNKNOWN if release is None else release.url,
    }
    wrong = [d for file in _pretended(path) if (d := file.difference(path))]
    if wrong:
        found["published as"] += f", though it has the name of one: {wrong[0]}"
    if kind in ("torch", "pickle") and importlib.util.find_spec("torch") is None:
        if kind == "torch":
            check_sums(path)
        found["content"] = (
            "not looked at: it needs PyTorch 2.6 or newer, pip install torch"
        )
    else:
        weights = read_weights(path, release=release)
        found |= _content(weights)
        wrong += _defects(weights)
    if wrong:
        found["wrong"] = "; ".join(wrong)
    width = max(map(len, found))
    return [f"{subject:<{width}}  {text}" for subject, text in found.items()], not wrong


def _pretended(path: Path) -> list[PublishedFile]:
    """The published files whose name a file has."""
    return [file for file in releases() if file.name == path.name]


def _content(weights: Weights) -> dict[str, str]:
    network = weights.network
    trunk = trunk_of(weights.arrays)
    numbers = sum(array.size for name in trunk for array in weights.arrays[name])
    head = "none"
    if weights.classes is not None:
        head = count_of(weights.classes, "class", "classes")
    found = {
        "backbone": "unknown: none of `kerasresnet backbones`"
        if network is None
        else _backbones(weights, network),
        "stem": weights.stem or "unknown",
        "preprocessing": weights.preprocessing or _default(network),
        "head": head,
        "parameters": f"{numbers:,} without the head",
        "numbers": ", ".join(weights.dtypes),
    }
    return found | dict(_notes(weights))


def _notes(weights: Weights) -> Iterator[tuple[str, str]]:
    if weights.image_size:
        yield "image size", "x".join(map(str, weights.image_size)) + " px"
    if weights.class_names:
        count = count_of(len(weights.class_names), "class", "classes")
        yield "trained on", f"{count}: {listing(weights.class_names)}"
    if weights.left_out:
        count = count_of(len(weights.left_out), "tensor")
        yield "left out", f"{count}: {listing(weights.left_out)}"


def _backbones(weights: Weights, network: str) -> str:
    row = ARCHITECTURES[network]
    if row.graph == "v1.5" and not row.bottleneck and weights.is_torch:
        return f"{network}, and resnet{row.depth} (turned into it exactly)"
    return network


def _default(network: str | None) -> str:
    if network is None:
        return "unknown"
    return f"not told; {ARCHITECTURES[network].preprocessing} is usual for {network}"


def _defects(weights: Weights) -> list[str]:
    nan = [
        f"NaN or infinity at layer {name!r}"
        for name, arrays in weights.arrays.items()
        if not all(np.isfinite(array).all() for array in arrays)
    ]
    return nan + [
        f"variances below 0 at layer {name!r}"
        for name, arrays in weights.arrays.items()
        if has_negative_variance(name, arrays)
    ]


def _stock() -> Iterator[str]:
    """The published files, and which of them are here."""
    rows = releases()
    width = max(len(file.name) for file in rows)
    yield f"{'file':<{width}}  {'size':>8}  where  backbone"
    for file in rows:
        path = cached(file)
        size = "" if path is None else size_text(size_of(path))
        names = ", ".join(backbones_of(file))
        if file in PINNED_V2.values():
            names += " (weights='imagenet_v2')"
        yield f"{file.name:<{width}}  {size:>8}  {_place(path):<5}  {names}"
    yield from _broken_downloads()
    yield ""
    yield f"Keras: {cache_folder()}"
    yield f"torch: {torch_folder()}"


def _place(path: Path | None) -> str:
    if path is None:
        return "-"
    return "Keras" if path.parent == cache_folder() else "torch"


def _places() -> Iterator[str]:
    keras_home, torch_home = (_chosen(name) for name in ("KERAS_HOME", "TORCH_HOME"))
    yield f"weights      {cache_folder()} ({keras_home}){_obstacle(cache_folder())}"
    yield f"torch's own  {torch_folder()} ({torch_home}), read but not written"
    mirror = os.environ.get(MIRROR)
    yield f"mirror       {mirror or 'none'} ({MIRROR})"


def _chosen(variable: str) -> str:
    return variable if os.environ.get(variable) else f"{variable} is not set"


def _obstacle(folder: Path) -> str:
    there = next(p for p in (folder, *folder.parents) if os.access(p, os.F_OK))
    if not there.is_dir():
        return f"; it cannot be used, because {there} is a file"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"; it cannot be written, because {there} is closed to you"
    return ""


def _broken_downloads() -> Iterator[str]:
    for part in listed(cache_folder()):
        if part.suffix == ".part":
            yield f"{part.name}: {size_text(size_of(part))} of a download that broke"


def _check_cached() -> tuple[list[str], bool]:
    """Checks every published file that is cached, in each folder."""
    lines, good = [], True
    for file in releases():
        for path in _copies(file):
            difference = file.difference(path)
            state = (
                f"damaged: {difference}" if difference else f"complete, {file.digest}"
            )
            lines.append(f"{path}: {state}")
            good = good and not difference
    lines += _broken_downloads()
    if not lines:
        lines = [f"none of the published files is in {cache_folder()}"]
    return lines, good


def _copies(file: PublishedFile) -> list[Path]:
    folders = [cache_folder(), *([torch_folder()] if file.is_torch else [])]
    return [path for folder in folders if (path := folder / file.name).is_file()]
