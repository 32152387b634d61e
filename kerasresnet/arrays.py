"""What arrays of images and labels must look like, and lists of class names.

Checked at the door, before anything is computed; nothing is repaired.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from kerasresnet.decoding import Pixels, check_values
from kerasresnet.errors import DataError, count_of, listing

Labels: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]


def default_names(count: int) -> tuple[str, ...]:
    """Returns the class names `"0"`, `"1"`, … that stand for "not named"."""
    return tuple(str(i) for i in range(count))


def check_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Returns class names as a tuple; refuses a bare string and names given twice."""
    if isinstance(class_names, str):
        raise ValueError(
            f"class_names must be a sequence of names, received {class_names!r}."
        )
    names = tuple(str(name) for name in class_names)
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise DataError(f"Class names must differ, received twice: {listing(twice)}.")
    return names


def check_images(images: Any) -> Pixels:
    """Returns images as an array of N pictures in 0..255, channels last.

    Args:
        images: What a user passed for images.

    Returns:
        The same array, not copied if it is one.

    Raises:
        DataError: If the shape or the values are not those of pictures.
    """
    images = np.asarray(images)
    shape = images.shape
    if images.dtype.kind not in "uif":
        raise DataError(
            f"images has dtype {images.dtype}, expected numbers in 0..255. "
            "Images of different sizes go into a folder, or to predict() as a list."
        )
    if images.ndim == 4 and shape[1] in (1, 3) and shape[-1] not in (1, 3, 4):
        raise DataError(
            f"images has shape {shape}: channels come first. Expected (N, H, W, 3); "
            "np.moveaxis(images, 1, -1) moves them."
        )
    single = images.ndim == 3 and shape[-1] in (1, 3, 4)
    if (
        single
        or images.ndim not in (3, 4)
        or (images.ndim == 4 and shape[-1] not in (1, 3, 4))
    ):
        hint = " For one image, pass images[None]." if single else ""
        raise DataError(f"images has shape {shape}, expected (N, H, W, 3).{hint}")
    if 0 in shape:
        raise DataError(f"images has shape {shape}: there is no image in it.")
    low, high = float(images.min()), float(images.max())
    if np.isnan(low):
        found = np.flatnonzero(np.isnan(images).any(axis=tuple(range(1, images.ndim))))
        raise DataError(
            f"{count_of(len(found), 'image')} of {len(images):,} contain NaN: "
            f"{listing(found)}. Remove or repair those images first."
        )
    check_values(low, high, whole_set=True)
    return images


def read_labels(
    labels: Sequence[Any] | Pixels, count: int, class_names: Sequence[str] | None
) -> tuple[Pixels, tuple[str, ...]]:
    """Returns labels as integers, and the class names that they count in.

    Args:
        labels: Integers, one-hot rows or class names.
        count: Number of images.
        class_names: The names to count in, or None to find them.

    Returns:
        A tuple `(numbers, class_names)`.

    Raises:
        DataError: If the labels do not fit the images or the names.
    """
    array = np.atleast_1d(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if len(array) != count:
        raise DataError(f"There are {count:,} images but {len(array):,} labels.")
    if array.ndim == 1 and all(isinstance(label, str) for label in array):
        return numbers_of(array.tolist(), class_names)
    n_classes = None
    if array.ndim == 2 and array.dtype.kind in "uifb":
        n_classes = array.shape[1]
        if not (np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()):
            raise DataError(
                "Labels of shape (N, classes) must be one-hot: a single 1 in each row."
            )
        array = array.argmax(axis=1)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"Labels have shape {array.shape} and dtype {array.dtype}; expected integers of "
            "shape (N,), one-hot rows, or class names."
        )
    names = check_names(class_names or default_names(n_classes or int(array.max()) + 1))
    if (
        array.min() < 0
        or array.max() >= len(names)
        or (n_classes or len(names)) != len(names)
    ):
        top = n_classes - 1 if n_classes else array.max()
        raise DataError(
            f"Labels run from {array.min()} to {top}, but there are {len(names)} classes: "
            f"expected 0 to {len(names) - 1}."
        )
    return array, names


def numbers_of(
    texts: list[str], class_names: Sequence[str] | None
) -> tuple[Pixels, tuple[str, ...]]:
    """Returns class names as integers, and the names that they count in.

    Args:
        texts: For each image the name of its class.
        class_names: The names to count in, or None for those found, sorted.

    Raises:
        DataError: If a name is not among those to count in.
    """
    names = check_names(class_names or sorted(set(texts)))
    foreign = sorted(set(texts) - set(names))
    if foreign:
        raise DataError(
            f"Labels that are not among the class names: {listing(foreign)}. "
            f"The names are: {listing(names, 20)}."
        )
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[text] for text in texts]), names


def frozen(labels: Sequence[int] | Pixels) -> Labels:
    """Returns labels as a read-only array of int32."""
    array = np.array(labels, "int32")
    array.setflags(write=False)
    return array
