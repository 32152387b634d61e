"""The weights files that Keras and torchvision publish: names, digests, and where they lie.

A table and a few rules about it. Nothing is opened but to be hashed, and nothing fetched;
see `downloads`.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from kerasresnet.errors import unknown

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
_TORCH = "https://download.pytorch.org/models/"
# What `weights=` takes in place of a path.
GENERATIONS = ("imagenet", "imagenet_v2")


@dataclass(frozen=True)
class PublishedFile:
    """A file that Keras or torchvision publishes, and how it is recognised.

    Args:
        name: File name, the same in every cache.
        md5: MD5 in hexadecimal digits, which Keras pins, or empty.
        sha256: SHA-256, or its first eight digits, which torch writes into the name; or
            empty.
        size: Bytes, where known.
        base: Where it is downloaded from, ending in a slash.
    """

    name: str
    md5: str = ""
    sha256: str = ""
    size: int | None = None
    base: str = _KERAS

    @property
    def url(self) -> str:
        """Where it is downloaded from."""
        return self.base + self.name

    @property
    def digest(self) -> str:
        """What it is checked against, in words."""
        if not self.sha256:
            return f"MD5 {self.md5}"
        whole = len(self.sha256) == 64
        return f"SHA-256 {self.sha256}" if whole else f"SHA-256 {self.sha256}…"

    @property
    def is_torch(self) -> bool:
        """Whether torchvision publishes it."""
        return self.base == _TORCH

    @property
    def needs_torch(self) -> bool:
        """Whether torch is needed to read it."""
        return self.name.endswith(".pth")

    def difference(self, path: Path) -> str:
        """Returns how a file differs from the published one, empty if it is the same.

        Args:
            path: A file.

        Raises:
            OSError: If it cannot be read.
        """
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size:,} bytes, expected {self.size:,}"
        kind = "sha256" if self.sha256 else "md5"
        found = file_digest(path, kind)
        if found.startswith(self.sha256 or self.md5):
            return ""
        shown = "SHA-256" if self.sha256 else "MD5"
        return f"its {shown} is {found}, expected {self.sha256 or self.md5}"


def _torch(name: str, sha256: str = "", size: int | None = None) -> PublishedFile:
    # torch.hub.load_state_dict_from_url: the digits in the name begin the SHA-256.
    sha256 = sha256 or name.rpartition("-")[2].removesuffix(".pth")
    return PublishedFile(name, sha256=sha256, size=size, base=_TORCH)


# MD5 of the file with the head, and of the one without.
# keras/src/applications/resnet.py: WEIGHTS_HASHES
_KERAS_MD5 = {
    "resnet50": (
        "2cb95161c43110f7111970584f804107",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    "resnet101": (
        "f1aeb4b969a6efcfb50fad2f0c20cfc5",
        "88cf7a10940856eca736dc7b7e228a21",
    ),
    "resnet152": (
        "100835be76be38e30d865e96f2aaae62",
        "ee4c566cf9a93f14d82f913c2dc6dd0c",
    ),
    "resnet50v2": (
        "3ef43a0b657b3be2300d5770ece849e0",
        "fac2f116257151a9d068a22e544a4917",
    ),
    "resnet101v2": (
        "6343647c601c52e1368623803854d971",
        "c0ed64b8031c3730f411d2eb4eea35b5",
    ),
    "resnet152v2": (
        "a49b44d1979771252814e80f8ec446f9",
        "ed17cf2e0169df9d443503ef94b23b33",
    ),
}
# torchvision/models/resnet.py: IMAGENET1K_V1 and IMAGENET1K_V2. Head and all are in one
# file.
_TORCH_FIRST = {
    18: _torch(
        "resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        46_830_571,
    ),
    34: _torch("resnet34-b627a593.pth"),
    50: _torch(
        "resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    ),
    101: _torch(
        "resnet101-63fe2227.pth",
        "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
    ),
    152: _torch(
        "resnet152-394f9c45.pth",
        "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
    ),
}
_TORCH_SECOND = {
    50: _torch(
        "resnet50-11ad3fa6.pth",
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
    ),
    101: _torch("resnet101-cd907fc2.pth"),
    152: _torch("resnet152-f82ba261.pth"),
}


def _first_generation() -> dict[tuple[str, bool], PublishedFile]:
    files = {}
    for name, (whole, trunk) in _KERAS_MD5.items():
        stem = f"{name}_weights_tf_dim_ordering_tf_kernels"
        files[name, True] = PublishedFile(f"{stem}.h5", whole)
        files[name, False] = PublishedFile(f"{stem}_notop.h5", trunk)
    for depth, file in _TORCH_FIRST.items():
        names = [f"resnet{depth}v1.5"] + [f"resnet{depth}"] * (depth < 50)
        files |= {(name, top): file for name in names for top in (True, False)}
    return files


# By backbone and whether the 1000-class head is included.
PINNED = _first_generation()
PINNED_V2 = {
    (f"resnet{depth}v1.5", top): file
    for depth, file in _TORCH_SECOND.items()
    for top in (True, False)
}


def published(
    backbone: str, *, include_top: bool = False, generation: str = "imagenet"
) -> PublishedFile:
    """Returns the published ImageNet weights of a backbone.

    Args:
        backbone: Name of the backbone.
        include_top: Whether the 1000-class head is wanted too.
        generation: `"imagenet"`, or `"imagenet_v2"` for torchvision's second ones.

    Returns:
        A row of the table.

    Raises:
        ValueError: If nothing is published under these names.
    """
    if generation not in GENERATIONS:
        raise unknown("weights", generation, GENERATIONS)
    table = PINNED if generation == "imagenet" else PINNED_V2
    if (backbone, include_top) not in table:
        names = sorted({name for name, _ in table})
        raise ValueError(
            f"weights={generation!r} are not published for backbone {backbone!r}, but for "
            f"{', '.join(names)}. Pass weights=path for a file of your own, or None."
        )
    return table[backbone, include_top]


def releases() -> tuple[PublishedFile, ...]:
    """Returns every published file once, in the order of the table."""
    return tuple(dict.fromkeys([*PINNED.values(), *PINNED_V2.values()]))


def backbones_of(file: PublishedFile) -> tuple[str, ...]:
    """Returns the backbones that a published file is for."""
    rows = [*PINNED.items(), *PINNED_V2.items()]
    return tuple(dict.fromkeys(name for (name, _), row in rows if row == file))


def published_as(path: Path) -> PublishedFile | None:
    """Returns which published file a file is, whatever it is called; None for none.

    Args:
        path: A file.

    Raises:
        OSError: If it cannot be read.
    """
    found = {kind: file_digest(path, kind) for kind in ("sha256", "md5")}
    for file in releases():
        expected = file.sha256 or file.md5
        if found["sha256" if file.sha256 else "md5"].startswith(expected):
            return file
    return None


def file_digest(path: Path, kind: str) -> str:
    """Returns the `"md5"` or `"sha256"` of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def cache_folder() -> Path:
    """Returns the folder where Keras keeps downloaded weights.

    That is `models` below `KERAS_HOME`, by default below `~/.keras`.
    """
    home = os.environ.get("KERAS_HOME")
    return Path(home or "~/.keras").expanduser() / "models"


def torch_folder() -> Path:
    """Returns the folder where torch keeps downloaded weights.

    That is `hub/checkpoints` below `TORCH_HOME`, by default below `torch` in
    `XDG_CACHE_HOME` or `~/.cache`.
    """
    home = os.environ.get("TORCH_HOME")
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    root = Path(home).expanduser() if home else Path(shared).expanduser() / "torch"
    return root / "hub" / "checkpoints"


def cached(file: PublishedFile) -> Path | None:
    """Returns where a published file lies on this machine, unchecked; None for nowhere."""
    folders = [cache_folder(), *([torch_folder()] if file.is_torch else [])]
    places = [folder / file.name for folder in folders]
    return next((place for place in places if place.is_file()), None)


def is_cached(backbone: str, *, include_top: bool = False) -> bool:
    """Returns whether the ImageNet weights of a backbone lie on this machine."""
    return cached(published(backbone, include_top=include_top)) is not None
