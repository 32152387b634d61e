"""From a list of images to batches: the one place where their order is decided.

Shuffle (the whole set, as row numbers), decode, cache, augment, batch, prefetch.
Evaluation keeps the order of the images and the last, smaller batch.
"""

import itertools
import logging
import weakref
from numbers import Integral
from typing import Any, Literal, Protocol, TypeAlias, cast

import numpy as np
import tensorflow as tf

from kerasresnet.augmentation import Augmentation
from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, listing
from kerasresnet.images import ImageData
from kerasresnet.pixels import PixelStore, check_batch_size

PixelCache: TypeAlias = Literal["auto", "memory", False]
Data: TypeAlias = Any  # ImageData, a tf.data.Dataset, or a pair of arrays

_log = logging.getLogger(__name__)


class Rows(Protocol):
    """What holds a row of numbers for each image: its pixels, or its features."""

    dtype: Any

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row."""

    def batch(self, indices: Pixels, draws: Pixels) -> Pixels:
        """Returns some rows.

        Args:
            indices: Row numbers.
            draws: A random number for each, that chooses among the views of an image.
        """


def make_dataset(
    data: ImageData,
    *,
    training: bool = False,
    image_size: tuple[int, int] = (224, 224),
    batch_size: int = 32,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    cache: PixelCache = "auto",
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
    check_order(batch_size, augmentation, seed)
    if augmentation is not None and not training:
        raise ValueError(
            "augmentation was given with training=False: images that are scored must not "
            "be changed. Pass training=True, or no augmentation."
        )
    pixels = PixelStore(data, image_size, cache)
    return _batches(
        pixels,
        labels=data.labels,
        training=training,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
    )


def training_images(
    data: Data, class_names: tuple[str, ...], *, named: bool = True
) -> ImageData:
    """Returns labelled `ImageData` that a model can be trained on.

    Args:
        data: `ImageData`, or a pair of arrays.
        class_names: The model's classes; labels are counted in their order.
        named: Whether these are names, not just numbers.

    Raises:
        DataError: If the data does not fit the model, or lacks one of its classes.
    """
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
    return images


def training_batches(
    images: ImageData,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    augmentation: Augmentation | None,
    cache: PixelCache,
    seed: int,
) -> Any:
    """Makes the shuffled batches for a model.

    Every photo is read before the first batch, also if none is kept.

    Args:
        images: What `training_images` returned.
        image_size: The model's.
        batch_size: Images in a batch.
        augmentation: Random views.
        cache: As in `make_dataset`.
        seed: As in `make_dataset`.

    Returns:
        A `tf.data.Dataset` of `(images, labels)`.

    Raises:
        DataError: If a photo cannot be read.
        ValueError: If an argument is out of range.
    """
    check_order(batch_size, augmentation, seed)
    pixels = PixelStore(images, image_size, cache)
    pixels.fill()
    return _batches(
        pixels,
        labels=images.labels,
        training=True,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
    )


def evaluation_batches(
    images: ImageData,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    cache: PixelCache = False,
) -> Any:
    """Makes the batches to score: every image once, in order.

    Args:
        images: Labelled images.
        image_size: The model's.
        batch_size: Images in a batch.
        cache: As in `make_dataset`; when on, every photo is read before the first.

    Returns:
        A `tf.data.Dataset` of `(images, labels)`.

    Raises:
        DataError: If a photo cannot be read.
        ValueError: If an argument is out of range.
    """
    check_order(batch_size)
    pixels = PixelStore(images, image_size, cache)
    if cache is not False:
        pixels.fill()
    return _batches(pixels, labels=images.labels, batch_size=batch_size)


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
        data = ImageData.from_arrays(*data, class_names=class_names if named else None)
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


def check_order(
    batch_size: Any, augmentation: Augmentation | None = None, seed: Any = 0
) -> None:
    """Raises a `ValueError` unless batches can be made of these."""
    check_batch_size(batch_size)
    if not isinstance(augmentation, Augmentation | None):
        raise ValueError(
            f"augmentation must be an Augmentation, received {augmentation!r}."
        )
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, received {seed}.")


def feature_batches(
    rows: Rows,
    labels: Any,
    *,
    batch_size: int,
    training: bool = False,
    seed: int = 0,
) -> Any:
    """Makes batches of features in the order in which `make_dataset` gives images.

    Args:
        rows: What holds the features.
        labels: For each row what is to be learned: an array, or several in a tuple.
        batch_size: Rows in a batch. The last one may be smaller.
        training: Whether to shuffle, anew in each epoch.
        seed: Decides order and views.

    Returns:
        A `tf.data.Dataset` of `({"features": …}, labels)`.

    Raises:
        ValueError: If `batch_size` or `seed` is out of range.
    """
    check_order(batch_size, seed=seed)
    dataset = _batches(
        rows, labels=labels, batch_size=batch_size, training=training, seed=seed
    )
    return _keyed(dataset, "features")


def keyed_images(dataset: Any) -> Any:
    """Turns batches `(images, …)` into `({"images": images}, …)`, for a model's twin."""
    return _keyed(dataset, "images")


def _keyed(dataset: Any, key: str) -> Any:
    keyed = dataset.map(lambda values, *rest: ({key: values}, *rest))
    keyed._source = dataset  # and what it reads from
    return keyed


def _batches(
    store: Rows,
    *,
    labels: Any,
    batch_size: int,
    training: bool = False,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> Any:
    shape = (None, *store.shape)
    # TensorFlow keeps every Python function that it was given for the life of the
    # process; this one must not keep the rows with it.
    held = weakref.ref(store)

    def read(indices: Pixels, draws: Pixels) -> Pixels:
        return cast("Rows", held()).batch(indices, draws)

    dataset = _rows(len(store), seed=seed, shuffled=training).batch(batch_size)

    @tf.autograph.experimental.do_not_convert
    def load(indices: Any, seeds: Any) -> Any:
        values = tf.numpy_function(read, [indices, seeds], store.dtype)
        values = tf.ensure_shape(values, shape)
        if augmentation is not None:
            pairs = tf.stack([seeds, indices], axis=-1)
            values = tf.map_fn(
                lambda pair: augmentation(*pair),
                (values, pairs),
                fn_output_signature=tf.float32,
            )
            values = tf.ensure_shape(values, shape)
        if labels is None:
            return values
        columns = labels if isinstance(labels, tuple) else (labels,)
        return values, *(tf.gather(tf.constant(c), indices) for c in columns)

    dataset = dataset.map(load, num_parallel_calls=2, deterministic=True).prefetch(2)
    dataset = dataset.with_options(_options())
    dataset._store = store  # lives as long as the dataset and its iterators
    return dataset


def _options() -> Any:
    options = tf.data.Options()
    # There is nothing to tune, and an iterator that is tuned is deleted, at the end of
    # each epoch, only when its tuner wakes up, which may take seconds.
    options.autotune.enabled = False
    return options


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
