"""Which images there are, their labels, their class names and the part they belong to.

Names, paths and array rows only. No pixel is decoded here; see `decoding`, and `index` for
what one look at a photo tells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kerasresnet.arrays import (
    Labels,
    check_images,
    check_names,
    frozen,
    read_labels,
)
from kerasresnet.audit import Audit, Seen, inspect
from kerasresnet.cifar import (
    CLASS_NAMES,
    Subset,
    check_subset,
    class_folders,
    download,
    read_arrays,
)
from kerasresnet.corrections import corrected_labels
from kerasresnet.decoding import Photo, Pixels, digest, read_image
from kerasresnet.division import Divisible
from kerasresnet.errors import DataError, count_of, listing
from kerasresnet.folders import Foldered, Listed, photos_by_class
from kerasresnet.index import seen_contents, seen_files
from kerasresnet.looks import look_at_rows
from kerasresnet.notebooks import MOST_SHOWN, images_html
from kerasresnet.tables import Tabular


@dataclass(frozen=True, eq=False, repr=False)
class ImageData(Divisible, Foldered, Tabular):
    """Which images there are, their labels and their class names.

    A frozen value that holds no pixels of photos. Make one with `from_folder`,
    `from_csv`, `from_dataframe`, `from_arrays`, `from_images`, `from_paths` or
    `cifar10`.

    Args:
        class_names: Names of the classes; label `i` means `class_names[i]`.
        labels: Integers of shape `(N,)`, read-only, or None for unlabelled images.
        paths: The photo files, or None if the images are in `images`.
        images: The array that holds the images, or None if they are files.
        rows: For each image its row in `images`, or None if they are files.
        named: Whether `class_names` were given, by folders, labels or the caller, or
            just stand for the numbers of integer labels.
        parts: For each image the name of the part that it belongs to, such as
            `"train"`, or None if the images are not divided.
        held: The images themselves, as bytes of files or arrays of any size, or None.
        times: How often the images were divided before.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> data
    ImageData(30 images, 5 classes: daisy, dandelion, roses, sunflowers, tulips)
    >>> train, validation = data.split(0.2)
    >>> len(train), len(validation)
    (23, 7)
    """

    class_names: tuple[str, ...]
    labels: Labels | None = None
    paths: tuple[Path, ...] | None = None
    images: Pixels | None = None
    rows: Pixels | None = None
    named: bool = True
    parts: tuple[str, ...] | None = None
    held: tuple[bytes | Pixels, ...] | None = None
    times: int = 0

    # Making one ---------------------------------------------------------------

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
        return cls(names, frozen(numbers), None, images, rows, named)

    @classmethod
    def from_images(
        cls,
        images: Iterable[Photo],
        labels: Sequence[Any] | Pixels | None = None,
        *,
        class_names: Sequence[str] | None = None,
    ) -> "ImageData":
        """Takes images that are in memory and may be of different sizes.

        Args:
            images: Bytes of files, PIL images or arrays `(H, W, 3)` in 0..255, in any
                mixture. Bytes are kept as they are, and decoded when they are read.
            labels: As in `from_arrays`.
            class_names: As in `from_arrays`.

        Returns:
            An `ImageData` in the order of the images.

        Raises:
            DataError: If there is no image, or one is neither bytes nor an image, or
                an array of another shape.

        Example:

        >>> photos = [path.read_bytes() for path in sorted(Path().glob("*/*/*.jpg"))]
        >>> kr.ImageData.from_images(photos[:4], ["cat", "dog", "dog", "cat"])
        ImageData(4 images, 2 classes: cat, dog)
        """
        held = tuple(_held(photo, number) for number, photo in enumerate(images))
        if not held:
            raise DataError("There is no image.")
        if labels is None:
            return cls(check_names(class_names or ()), held=held)
        named = class_names is not None or np.asarray(labels).dtype.kind in "OU"
        numbers, names = read_labels(labels, len(held), class_names)
        return cls(names, frozen(numbers), named=named, held=held)

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

    @classmethod
    def _from_listed(cls, found: Listed) -> "ImageData":
        labels = None if found.labels is None else frozen(found.labels)
        return cls(found.class_names, labels, found.paths, parts=found.parts)

    # Looking at it --------------------------------------------------------------

    def __len__(self) -> int:
        for found in (self.paths, self.rows, self.held):
            if found is not None:
                return len(found)
        return 0

    def __repr__(self) -> str:
        what = count_of(len(self), "image")
        if self.labels is None:
            return f"ImageData({what}, unlabelled)"
        classes = count_of(len(self.class_names), "class", "classes")
        return f"ImageData({what}, {classes}: {listing(self.class_names)})"

    @property
    def sources(self) -> tuple[str, ...]:
        """For each image, where it is from: its path, or `"image 7"` for a row."""
        if self.paths is not None:
            return tuple(str(path) for path in self.paths)
        return tuple(f"image {row}" for row in self._rows())

    def _repr_html_(self) -> str:
        labels = np.arange(len(self)) if self.labels is None else self.labels
        first, sources = np.unique(labels, return_index=True)[1], self.sources
        counts = {} if self.labels is None else self.counts()
        photos = ((sources[i], self.photo(i)) for i in first[:MOST_SHOWN])
        return images_html(repr(self), counts, photos)

    def photo(self, index: int) -> Path | bytes | Pixels:
        """Returns image `index` undecoded: its path, bytes, or row of the array."""
        if self.paths is not None:
            return self.paths[index]
        if self.held is not None:
            return self.held[self._rows()[index]]
        if self.images is None:
            raise IndexError(f"There is no image {index}.")
        return self.images[self._rows()[index]]

    def counts(self) -> dict[str, int]:
        """Returns the number of images of each class, by name, in label order."""
        found = np.bincount(self._labels(), minlength=len(self.class_names))
        return {name: int(n) for name, n in zip(self.class_names, found, strict=True)}

    def check(self) -> Audit:
        """Looks at every image once and reports what is wrong.

        What was seen of a photo is kept in the user's cache folder, so that the next
        time only new ones are read.

        Returns:
            An `Audit`: images that cannot be read, that are the same, nearly the same or
            of little use, and how many there are of each class. If the images are
            divided into parts, also those that are in more than one.
        """
        counts = {} if self.labels is None else self.counts()
        labels = None if self.labels is None else self.labels.tolist()
        return inspect(self._seen(), counts, labels, self.parts)

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
                f"Expected: {listing(names, 20)}. Leave their photos out (in Python with "
                "from_folder(…, class_names=[…])), or train a model that knows them."
            )
        new_labels = np.array([names.index(name) for name in self.class_names])
        return self._relabelled(new_labels[self.labels], names)

    def relabel(
        self, file: str | Path, *, root: str | Path | None = None
    ) -> "ImageData":
        r"""Returns the images with labels corrected by a table, and without some.

        The table is one that `label_issues(model, data).to_csv(file)` wrote and someone
        has looked through: `new_label` is the class that an image gets, an image with
        nothing there is left out, and one without a row keeps its label. All of the
        table is applied or, after an error, nothing.

        Args:
            file: A CSV file with the columns `source`, `label` (what the image has now)
                and `new_label`.
            root: Folder that relative paths start at. Defaults to the file's own.

        Returns:
            An `ImageData` with the same class names, in the order of this one. The log
            says how many labels have changed and how many images are left out.

        Raises:
            DataError: If the table names an image or a class that is not in the data, a
                label that an image does not have (any more), or two new labels for one
                image, or if it leaves no image.

        Example:

        >>> data = kr.ImageData.from_folder("flower_photos")
        >>> rows = ["source,label,new_label", f"{data.paths[0]},daisy,roses"]
        >>> _ = Path("fixes.csv").write_text("\n".join(rows))
        >>> data.relabel("fixes.csv").counts()
        {'daisy': 5, 'dandelion': 6, 'roses': 7, 'sunflowers': 6, 'tulips': 6}
        """
        start = None
        if self.paths is not None:
            start = Path(file).parent if root is None else Path(root)
        names, sources = self.class_names, self.sources
        labels = corrected_labels(
            Path(file), sources, self._labels(), names, root=start
        )
        kept = np.flatnonzero(labels >= 0)
        if not len(kept):
            raise DataError(f"{file} leaves out all images. Nothing is changed.")
        return self._subset(kept, labels=frozen(labels[kept]))

    def _relabelled(self, labels: Pixels, names: tuple[str, ...]) -> "ImageData":
        return replace(self, class_names=names, labels=frozen(labels), named=True)

    def _subset(self, chosen: Pixels, **changed: Any) -> "ImageData":
        kept: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in chosen)
            for name in ("paths", "parts")
            if getattr(self, name) is not None
        }
        if self.labels is not None:
            kept["labels"] = frozen(self.labels[chosen])
        kept["rows"] = None if self.paths is not None else self._rows()[chosen]
        return replace(self, **(kept | changed))

    def _seen(self, *, look: bool = True) -> list[Seen]:
        if self.paths is not None:
            return seen_files(self.paths, look=look)
        if self.held is not None:
            held = [self.held[row] for row in self._rows()]
            return seen_contents(held, self.sources)
        images, rows = self.images, self._rows()
        if images is None:
            return []
        return [
            Seen(f"image {row}", digest(images[row]), seen)
            for row, seen in zip(rows, look_at_rows(images, rows), strict=True)
        ]

    def _rows(self) -> Pixels:
        """For each image in memory its number among those that were given."""
        if self.rows is not None:
            return self.rows
        return np.arange(0 if self.held is None else len(self.held))

    def _labels(self) -> Labels:
        if self.labels is None:
            raise DataError(
                "These images have no labels. Pass labels, or class folders."
            )
        return self.labels


def with_empty_classes(root: Path) -> ImageData:
    """Lists photos by class as `from_folder` does, but a class may be without one."""
    return ImageData._from_listed(photos_by_class(root, keep_empty=True))


def _held(photo: Photo, number: int) -> bytes | Pixels:
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, np.ndarray):
        if photo.ndim not in (2, 3) or (
            photo.ndim == 3 and photo.shape[2] not in (1, 3, 4)
        ):
            raise DataError(
                f"Image {number} has shape {photo.shape}, expected (H, W, 3), or (H, W) or "
                "(H, W, 1) for gray, or (H, W, 4) for RGBA. Channels come last."
            )
        check_images(photo[None] if photo.ndim == 3 else photo[None, ..., None])
        return photo
    if isinstance(photo, Image.Image):
        return read_image(photo)
    raise DataError(
        f"Expected bytes, PIL images or arrays, received {type(photo).__name__}. "
        "from_paths(paths) lists files."
    )
