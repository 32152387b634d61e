"""From a list of images to batches: the one place where their order is decided.

Shuffle (the whole set, as row numbers), decode, cache, augment, batch, prefetch.
Evaluation keeps the order of the images and the last, smaller batch.
"""

import itertools
import logging
import math
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import tensorflow as tf

from kerasresnet.augmentation import Augmentation
from kerasresnet.datasets import checked_dataset, is_dataset
from kerasresnet.decoding import Pixels, read_image
from kerasresnet.errors import DataError, listing
from kerasresnet.images import ImageData

Cache: TypeAlias = Literal["auto", "memory", False]
Data: TypeAlias = Any  # ImageData, a tf.data.Dataset, or a pair of arrays

# Up to here decoded photos are kept in memory when `cache="auto"`.
_CACHE_BYTES = 2**31

_log = logging.getLogger(__name__)
_pool = ThreadPoolExecutor(thread_name_prefix="kerasresnet")
# Its work waits for that of the other pool, so it must not take places there.
_ahead = ThreadPoolExecutor(1, thread_name_prefix="kerasresnet-ahead")


def make_dataset(
    data: ImageData,
    *,
    training: bool = False,
    image_size: tuple[int, int] = (224, 224),
    batch_size: int = 32,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    cache: Cache = "auto",
) -> Any:
    """Makes a `tf.data.Dataset` of batches, for Keras's own `fit` and `evaluate`.

    Args:
        data: Which images.
        training: Whether to shuffle (over the whole set, anew in each epoch) and to
            augment. Otherwise images come in their order, each exactly once.
        image_size: Height and width that images are resized to, antialiased.
        batch_size: Images in a batch. The last one may be smaller.
        augmentation: Random views, drawn anew in each epoch. Needs `training=True`.
        seed: Decides order and views: the same seed gives the same batches.
        cache: Whether decoded photos are kept in memory: `"auto"` up to 2 GiB,
            `"memory"` always, False never.

    Returns:
        A `tf.data.Dataset` of `(images, labels)`: RGB in 0..255 of shape
        `(batch, H, W, 3)`, uint8 (float32 if augmented or made of float arrays), and
        int32 labels of shape `(batch,)`. Unlabelled data gives images alone.

    Raises:
        DataError: If there is no image; while iterating, if a photo cannot be read.
        ValueError: If an argument is out of range.

    Example:

    >>> train = kr.ImageData.from_folder("flower_photos")
    >>> dataset = kr.make_dataset(
    ...     train, training=True, image_size=(64, 64), batch_size=8
    ... )
    >>> images, labels = next(iter(dataset))
    >>> images.shape, images.dtype.name
    (TensorShape([8, 64, 64, 3]), 'uint8')
    """
    _check_arguments(batch_size, augmentation, seed)
    if augmentation is not None and not training:
        raise ValueError(
            "augmentation was given with training=False: images that are scored must not "
            "be changed. Pass training=True, or no augmentation."
        )
    pixels = _PixelStore(data, image_size, cache)
    return _batches(
        pixels,
        training=training,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
    )


def training_batches(
    data: Data,
    *,
    class_names: tuple[str, ...],
    named: bool = True,
    image_size: tuple[int, int],
    batch_size: int,
    augmentation: Augmentation | None,
    cache: Cache,
    seed: int,
) -> Any:
    """Makes the shuffled batches for a model.

    Every photo is read before the first batch, also if none is kept.

    Args:
        data: `ImageData`, a `tf.data.Dataset`, or a pair of arrays.
        class_names: The model's classes.
        named: Whether these are names, not just numbers.
        image_size: The model's.
        batch_size: Images in a batch. (A `Dataset` keeps its own.)
        augmentation: Random views.
        cache: As in `make_dataset`.
        seed: As in `make_dataset`.

    Returns:
        A `tf.data.Dataset` of `(images, labels)`.

    Raises:
        DataError: If the data does not fit the model or a photo cannot be read.
        ValueError: If an argument is out of range.
    """
    _check_arguments(batch_size, augmentation, seed)
    if is_dataset(data):
        if augmentation is not None:
            raise ValueError(
                "augmentation works on ImageData and arrays. A tf.data.Dataset has its order "
                "fixed already: augment it yourself, after any cache."
            )
        return checked_dataset(data, class_names, named, image_size)
    images = as_image_data(data, class_names, named=named)
    absent = [name for name, count in images.counts().items() if not count]
    if len(absent) == len(images.class_names) - 1:
        raise DataError(
            f"All {len(images):,} training images are of one class; a classifier needs "
            "images of at least two."
        )
    if absent and images.paths is not None:
        raise DataError(
            f"The training data has no image of {listing(absent)}, which the model is to tell. "
            "Add photos, or build the model with class_names=data.class_names."
        )
    pixels = _PixelStore(images, image_size, cache)
    pixels.fill()
    return _batches(
        pixels,
        training=True,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
    )


def evaluation_batches(
    data: Data,
    *,
    class_names: tuple[str, ...],
    named: bool = True,
    image_size: tuple[int, int],
    batch_size: int,
    cache: Cache = False,
) -> Any:
    """Makes the batches to score: every image once, in order.

    Args:
        data: `ImageData`, a `tf.data.Dataset`, or a pair of arrays.
        class_names: The model's classes; labels are counted in their order.
        named: Whether these are names, not just numbers.
        image_size: The model's.
        batch_size: Images in a batch.
        cache: As in `make_dataset`; when on, every photo is read before the first.

    Returns:
        A `tf.data.Dataset` of `(images, labels)`.

    Raises:
        DataError: If the data does not fit the model.
        ValueError: If an argument is out of range.
    """
    _check_arguments(batch_size)
    if is_dataset(data):
        return checked_dataset(data, class_names, named, image_size)
    images = as_image_data(data, class_names, named=named)
    pixels = _PixelStore(images, image_size, cache)
    if cache is not False:
        pixels.fill()
    return _batches(pixels, batch_size=batch_size)


def image_batches(
    data: ImageData, *, image_size: tuple[int, int], batch_size: int
) -> Iterator[Pixels]:
    """Gives the images in order, batch by batch, the next one read meanwhile.

    In plain Python: an unreadable photo is a plain error, not one of TensorFlow's threads.

    Args:
        data: Which images; labels are ignored.
        image_size: Height and width to resize to.
        batch_size: Images in a batch. The last one may be smaller.

    Yields:
        Arrays of shape `(batch, H, W, 3)`, RGB in 0..255.

    Raises:
        DataError: If an image cannot be read. All that cannot are named.
    """
    _check_arguments(batch_size)
    pixels = _PixelStore(data, image_size, cache=False)
    chunks = np.split(np.arange(len(data)), range(batch_size, len(data), batch_size))
    ahead = _ahead.submit(pixels.batch, chunks[0])
    for number in range(1, len(chunks) + 1):
        try:
            batch = ahead.result()
        except DataError:
            if len(data) > 1:
                pixels.fill()
            raise
        if number < len(chunks):
            ahead = _ahead.submit(pixels.batch, chunks[number])
        yield batch


def as_image_data(
    data: Data, class_names: tuple[str, ...], *, named: bool = True
) -> ImageData:
    """Returns labelled `ImageData` whose labels count in the order of `class_names`.

    Args:
        data: `ImageData`, or a pair `(images, labels)` of arrays.
        class_names: The model's classes.
        named: Whether these are names. If not, named data keeps its own.

    Returns:
        An `ImageData`.

    Raises:
        DataError: If there is no image, no label, or a class the model does not have.
    """
    if isinstance(data, tuple | list) and len(data) == 2:
        data = ImageData.from_arrays(*data, class_names=class_names)
    if not isinstance(data, ImageData):
        raise DataError(
            f"Expected ImageData, a tf.data.Dataset, or a pair (images, labels), received "
            f"{type(data).__name__}. ImageData.from_folder(path) reads a folder."
        )
    if data.labels is None:
        raise DataError("These images have no labels. Pass labels, or class folders.")
    if data.named and named:
        return data.with_class_names(class_names)
    if data.named and len(data.class_names) == len(class_names):
        _log.warning(
            "The model has no class names: its outputs are taken in the data's order, %s.",
            listing(data.class_names),
        )
        return data
    if data.named or len(data.class_names) > len(class_names):
        raise DataError(
            f"The data has {len(data.class_names)} classes ({listing(data.class_names)}), but "
            f"the model has {len(class_names)} outputs. Build it with "
            "build_classifier(class_names=data.class_names)."
        )
    return data.with_class_names(class_names)


def _check_arguments(
    batch_size: Any, augmentation: Augmentation | None = None, seed: Any = 0
) -> None:
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, received {batch_size}.")
    if not isinstance(augmentation, Augmentation | None):
        raise ValueError(
            f"augmentation must be an Augmentation, received {augmentation!r}."
        )
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, received {seed}.")


class _PixelStore:
    """The decoded images of a set at one size, kept in memory if that is wanted."""

    def __init__(
        self, data: ImageData, image_size: tuple[int, int], cache: Cache
    ) -> None:
        if not len(data):
            raise DataError("The data has no image.")
        if cache not in ("auto", "memory") and cache is not False:
            raise ValueError(
                f"cache must be 'auto', 'memory' or False, received {cache!r}."
            )
        self.data = data
        self.size = _checked_size(image_size)
        array = data.images
        is_float = array is not None and array.dtype.kind == "f"
        self.dtype = np.dtype("float32" if is_float else "uint8")
        if array is not None and array.shape[1:3] != self.size:
            _log.info(
                "Images of %d x %d are resized to %d x %d.",
                *array.shape[1:3],
                *self.size,
            )
        ready = array is not None and array.shape[1:] == (*self.size, 3)
        shape = (len(data), *self.size, 3)
        keep = not ready and self._is_kept(shape, cache)
        self._kept = np.empty(shape, self.dtype) if keep else None
        self._known = np.zeros(len(data), "bool")

    def _is_kept(self, shape: tuple[int, ...], cache: Cache) -> bool:
        needed = math.prod(shape) * self.dtype.itemsize
        if cache == "auto" and needed > _CACHE_BYTES:
            _log.warning(
                "%d images of %d x %d would take %.1f GB of memory: they are decoded "
                "again in every epoch. cache='memory' keeps them.",
                *shape[:3],
                needed / 1e9,
            )
            return False
        return cache is not False

    def fill(self) -> None:
        """Reads every photo, and keeps it if that is wanted; names all that fail."""
        if self._kept is None and self.data.paths is None:
            return
        _log.info("Reading %d images.", len(self.data))
        problems = [p for p in _pool.map(self._try, range(len(self.data))) if p]
        if problems:
            rest = f"\n  and {len(problems) - 10:,} more" if len(problems) > 10 else ""
            raise DataError(
                f"{len(problems):,} of {len(self.data):,} images cannot be read:\n  "
                + "\n  ".join(problems[:10])
                + rest
                + "\nRemove or replace them; data.check() lists them all."
            )

    def batch(self, indices: Pixels) -> Pixels:
        """Returns the images of some rows, shape `(batch, H, W, 3)`."""
        return np.stack(list(_pool.map(self._image, indices.tolist())))

    def _try(self, index: int) -> str:
        try:
            self._image(index)
        except DataError as error:
            return str(error)
        return ""

    def _image(self, index: int) -> Pixels:
        if self._kept is not None and self._known[index]:
            return self._kept[index]
        image = read_image(self.data.photo(index), self.size).astype(
            self.dtype, copy=False
        )
        if self._kept is not None:
            self._kept[index] = image
            self._known[index] = True
        return image


def _checked_size(image_size: Any) -> tuple[int, int]:
    size = tuple(image_size) if isinstance(image_size, Iterable) else (image_size,)
    if len(size) != 2 or any(
        not isinstance(side, Integral) or side < 1 for side in size
    ):
        raise ValueError(
            f"image_size must be (height, width) in px, received {image_size!r}."
        )
    return int(size[0]), int(size[1])


def _batches(
    pixels: _PixelStore,
    *,
    batch_size: int,
    training: bool = False,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> Any:
    count, dtype, labels = len(pixels.data), pixels.dtype, pixels.data.labels
    shape = (None, *pixels.size, 3)
    # TensorFlow keeps every Python function that it was given for the life of the
    # process; this one must not keep the pixels with it.
    store = weakref.ref(pixels)

    def read(indices: Pixels) -> Pixels:
        return cast("_PixelStore", store()).batch(indices)

    dataset = _rows(count, seed=seed, shuffled=training).batch(batch_size)

    @tf.autograph.experimental.do_not_convert
    def load(indices: Any, seeds: Any) -> Any:
        images = tf.ensure_shape(tf.numpy_function(read, [indices], dtype), shape)
        if augmentation is not None:
            pairs = tf.stack([seeds, indices], axis=-1)
            images = tf.map_fn(
                lambda pair: augmentation(*pair),
                (images, pairs),
                fn_output_signature=tf.float32,
            )
            images = tf.ensure_shape(images, shape)
        if labels is None:
            return images
        return images, tf.gather(tf.constant(labels), indices)

    dataset = dataset.map(load, num_parallel_calls=2, deterministic=True).prefetch(2)
    dataset._pixels = pixels  # lives as long as the dataset and its iterators
    return dataset


def _rows(count: int, *, seed: int, shuffled: bool) -> Any:
    """Row numbers, each with a seed for its view; drawn anew in each epoch.

    By NumPy, because TensorFlow mixes the global seed into its own shuffle. Drawn before
    the parallel part, so that views do not depend on timing.
    """
    epochs = itertools.count()

    def draw() -> tuple[Pixels, Pixels]:
        rng = np.random.default_rng((seed, next(epochs)))
        rows = rng.permutation(count) if shuffled else np.arange(count)
        return rows, rng.integers(2**31, size=count)

    @tf.autograph.experimental.do_not_convert
    def epoch(_: Any) -> Any:
        drawn = tf.numpy_function(draw, [], [tf.int64, tf.int64])
        drawn = [tf.ensure_shape(column, [count]) for column in drawn]
        return tf.data.Dataset.from_tensor_slices(tuple(drawn))

    rows = tf.data.Dataset.range(1).flat_map(epoch)
    return rows.apply(tf.data.experimental.assert_cardinality(count))
