"""Which images there are, their labels and their class names.

Names, paths and array rows only. No pixel is decoded here; see `decoding`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kerasresnet.arrays import check_images, check_names, read_labels
from kerasresnet.audit import Audit, inspect
from kerasresnet.cifar import (
    CLASS_NAMES,
    Subset,
    check_subset,
    class_folders,
    download,
    read_arrays,
)
from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, listing
from kerasresnet.folders import class_names_in, photos_below, photos_in
from kerasresnet.splits import part_sizes, proportional

Labels: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """Which images there are, their labels and their class names.

    A frozen value that holds no pixels of photos. Make one with `from_folder`,
    `from_arrays` or `cifar10`.

    Args:
        class_names: Names of the classes; label `i` means `class_names[i]`.
        labels: Integers of shape `(N,)`, read-only, or None for unlabelled images.
        paths: The photo files, or None if the images are in `images`.
        images: The array that holds the images, or None if they are files.
        rows: For each image its row in `images`, or None if they are files.
        named: Whether `class_names` were given, by folders, labels or the caller, or
            just stand for the numbers of integer labels.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> data
    ImageData(30 images, 5 classes: daisy, dandelion, roses, sunflowers, tulips)
    >>> train, validation = data.split(0.2)
    >>> len(train), len(validation)
    (25, 5)
    """

    class_names: tuple[str, ...]
    labels: Labels | None = None
    paths: tuple[Path, ...] | None = None
    images: Pixels | None = None
    rows: Pixels | None = None
    named: bool = True

    # Making one ---------------------------------------------------------------

    @classmethod
    def from_folder(
        cls, directory: str | Path, *, class_names: Sequence[str] | None = None
    ) -> "ImageData":
        """Lists the photos below a folder that has one sub-folder for each class.

        Hidden files and folders are passed over. Files of other kinds and photos in
        deeper folders are left out, and the log says so.

        Args:
            directory: The folder.
            class_names: Names of the sub-folders to read, in the order of their
                labels. Defaults to all, sorted.

        Returns:
            An `ImageData`, sorted by class and file name.

        Raises:
            DataError: If the folder or a class is missing or has no image.

        Example:

        >>> two = kr.ImageData.from_folder(
        ...     "flower_photos", class_names=["tulips", "daisy"]
        ... )
        >>> two.counts()
        {'tulips': 6, 'daisy': 6}
        """
        root = Path(directory)
        if class_names is not None and not len(class_names):
            raise DataError("class_names is empty: name the sub-folders to read.")
        names = (
            class_names_in(root) if class_names is None else check_names(class_names)
        )
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            found = photos_in(root / name)
            paths += found
            labels += [label] * len(found)
        return cls(names, _frozen(labels), tuple(paths))

    @classmethod
    def from_arrays(
        cls,
        images: Pixels,
        labels: Sequence[Any] | Pixels | None = None,
        *,
        class_names: Sequence[str] | None = None,
    ) -> "ImageData":
        """Wraps images that are in memory. Nothing is copied.

        Args:
            images: Array of shape `(N, H, W, 3)`, RGB in 0..255, uint8 or float. Gray
                (`(N, H, W)` or one channel) and RGBA (four channels) are converted
                when they are read, as photos are.
            labels: Integers of shape `(N,)` or `(N, 1)`, one-hot rows of shape
                `(N, classes)`, or class names. Defaults to unlabelled.
            class_names: Names of the classes, in the order of their labels. Defaults
                to the sorted names if `labels` are names, else to `"0"`, `"1"`, ….

        Returns:
            An `ImageData`.

        Raises:
            DataError: If the shape is wrong, channels come first, values are not in
                0..255, or labels do not fit the images or the names.

        Example:

        >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), "uint8")
        >>> kr.ImageData.from_arrays(images, ["cat", "dog", "dog", "cat"])
        ImageData(4 images, 2 classes: cat, dog)
        """
        images = check_images(images)
        rows = np.arange(len(images))
        if labels is None:
            return cls(check_names(class_names or ()), None, None, images, rows)
        named = class_names is not None or np.asarray(labels).dtype.kind in "OU"
        numbers, names = read_labels(labels, len(images), class_names)
        return cls(names, _frozen(numbers), None, images, rows, named)

    @classmethod
    def from_paths(cls, paths: str | Path | Sequence[str | Path]) -> "ImageData":
        """Lists unlabelled photos, for prediction.

        Args:
            paths: A photo, a folder (every photo in it and below it, sorted; hidden ones
                left out), or photo files in the order wanted.

        Returns:
            An `ImageData` without labels.

        Raises:
            DataError: If a folder holds no photo.

        Example:

        >>> kr.ImageData.from_paths("flower_photos/daisy").take(3)
        ImageData(3 images, unlabelled)
        """
        if isinstance(paths, str | Path):
            path = Path(paths)
            return cls((), None, tuple(photos_below(path) if path.is_dir() else [path]))
        return cls((), None, tuple(Path(path) for path in paths))

    @classmethod
    def cifar10(
        cls, subset: Subset = "train", *, path: str | Path | None = None
    ) -> "ImageData":
        """Returns CIFAR-10: 32x32 images in ten classes, 50,000 and 10,000.

        Args:
            subset: `"train"` or `"test"`.
            path: A local copy: the folder `cifar-10-batches-py`, the `.tar.gz`, an
                `.npz` with `x_train`, `y_train`, `x_test`, `y_test`, or class folders.
                Defaults to Keras's download.

        Returns:
            An `ImageData` with the ten names in their usual order.

        Raises:
            DataError: If the copy is in no known layout, or cannot be downloaded.
        """
        check_subset(subset)
        if path is None:
            images, labels = download(subset)
            return cls.from_arrays(images, labels, class_names=CLASS_NAMES)
        folder = class_folders(Path(path), subset)
        if folder is not None:
            return cls.from_folder(folder, class_names=CLASS_NAMES)
        images, labels = read_arrays(Path(path), subset)
        return cls.from_arrays(images, labels, class_names=CLASS_NAMES)

    # Looking at it --------------------------------------------------------------

    def __len__(self) -> int:
        held = self.rows if self.paths is None else self.paths
        return 0 if held is None else len(held)

    def __repr__(self) -> str:
        what = f"{len(self):,} images"
        if self.labels is None:
            return f"ImageData({what}, unlabelled)"
        return f"ImageData({what}, {len(self.class_names)} classes: {listing(self.class_names)})"

    @property
    def sources(self) -> tuple[str, ...]:
        """For each image, where it is from: its path, or `"image 7"` for a row."""
        if self.paths is not None:
            return tuple(str(path) for path in self.paths)
        return tuple(f"image {row}" for row in self._rows())

    def photo(self, index: int) -> Path | Pixels:
        """Returns image `index` undecoded: its path, or its row of the array."""
        if self.paths is not None:
            return self.paths[index]
        if self.images is None:
            raise IndexError(f"There is no image {index}.")
        return self.images[self._rows()[index]]

    def counts(self) -> dict[str, int]:
        """Returns the number of images of each class, by name, in label order."""
        found = np.bincount(self._labels(), minlength=len(self.class_names))
        return {name: int(n) for name, n in zip(self.class_names, found, strict=True)}

    def check(self) -> Audit:
        """Reads every image once and reports what is wrong.

        Returns:
            An `Audit`: unreadable and very small images, and the class counts.
        """
        photos = [self.photo(i) for i in range(len(self))]
        counts = {} if self.labels is None else self.counts()
        return inspect(photos, self.sources, counts)

    # Parts of it ----------------------------------------------------------------

    def split(self, *fractions: float, seed: int = 0) -> tuple["ImageData", ...]:
        """Divides the images into parts, each with its share of every class.

        Every image goes to exactly one part. The same seed gives the same parts.

        Args:
            *fractions: Share of each part that is held out, in 0..1.
            seed: Decides which images go where.

        Returns:
            What remains, and then a part for each fraction:
            `train, val, test = data.split(0.1, 0.1)`.

        Raises:
            DataError: If a class has fewer images than there are parts.
            ValueError: If the fractions are not positive or leave nothing.
        """
        if seed < 0:
            raise ValueError(f"seed must be at least 0, received {seed}.")
        if not fractions or min(fractions) <= 0 or sum(fractions) >= 1:
            raise ValueError(
                f"Fractions must be positive and sum to less than 1, received {fractions}. "
                "split(0.2) holds out one image in five."
            )
        labels = self._labels()
        part = np.zeros(len(self), "int64")
        for label, name in enumerate(self.class_names):
            members = np.flatnonzero(labels == label)
            sizes = part_sizes(len(members), fractions, name)
            shuffled = np.random.default_rng((seed, label)).permutation(members)
            for number, held_out in enumerate(
                np.split(shuffled, np.cumsum(sizes))[:-1], 1
            ):
                part[held_out] = number
        return tuple(
            self._subset(np.flatnonzero(part == k)) for k in range(len(fractions) + 1)
        )

    def take(self, n: int, seed: int = 0) -> "ImageData":
        """Returns `n` images with the classes in proportion, or all if there are fewer.

        Args:
            n: Number of images. If it is at least the number of classes, every class
                keeps at least one.
            seed: Decides which images are taken.

        Returns:
            An `ImageData` in the order of this one.

        Raises:
            ValueError: If `n` is not positive.
        """
        if n < 1:
            raise ValueError(
                f"take(n) needs a positive number of images, received {n}."
            )
        if n >= len(self):
            return self
        rng = np.random.default_rng(seed)
        if self.labels is None:
            return self._subset(np.sort(rng.permutation(len(self))[:n]))
        sizes = proportional(np.array(list(self.counts().values())), n)
        chosen = [
            rng.permutation(np.flatnonzero(self.labels == label))[:size]
            for label, size in enumerate(sizes)
        ]
        return self._subset(np.sort(np.concatenate(chosen)))

    def with_class_names(self, class_names: Sequence[str]) -> "ImageData":
        """Returns the same images with labels that count in another order of names.

        Labels follow their names. Unnamed classes (`"0"`, `"1"`, …) take the new
        names as they stand.

        Args:
            class_names: The names to count in. Names that these images do not have are
                allowed; the other way round is an error.

        Returns:
            An `ImageData` whose `class_names` are those given.

        Raises:
            DataError: If a class of these images is not among the names.
        """
        names = check_names(class_names)
        if (names == self.class_names and self.named) or self.labels is None:
            return self
        if not self.named:
            if len(names) < len(self.class_names):
                raise DataError(
                    f"The data has {len(self.class_names)} classes, but {len(names)} are "
                    f"expected: {listing(names)}."
                )
            return self._relabelled(self.labels, names)
        foreign = [name for name in self.class_names if name not in names]
        if foreign:
            raise DataError(
                f"The data has classes that are not expected: {listing(foreign)}. "
                f"Expected: {listing(names, 20)}. Leave them out with "
                "from_folder(…, class_names=[…]), or train a model that knows them."
            )
        new_labels = np.array([names.index(name) for name in self.class_names])
        return self._relabelled(new_labels[self.labels], names)

    def _relabelled(self, labels: Pixels, names: tuple[str, ...]) -> "ImageData":
        return replace(self, class_names=names, labels=_frozen(labels), named=True)

    def _subset(self, chosen: Pixels) -> "ImageData":
        return replace(
            self,
            labels=None if self.labels is None else _frozen(self.labels[chosen]),
            paths=None if self.paths is None else tuple(self.paths[i] for i in chosen),
            rows=None if self.rows is None else self.rows[chosen],
        )

    def _rows(self) -> Pixels:
        return np.arange(0) if self.rows is None else self.rows

    def _labels(self) -> Labels:
        if self.labels is None:
            raise DataError(
                "These images have no labels. Pass labels, or class folders."
            )
        return self.labels


def _frozen(labels: Sequence[int] | Pixels) -> Labels:
    array = np.array(labels, "int32")
    array.setflags(write=False)
    return array
