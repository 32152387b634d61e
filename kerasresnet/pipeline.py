"""From a list of images to batches: the one place where their order is decided.

Shuffle (the whole set, as row numbers), decode, cache, augment, batch, prefetch.
Evaluation keeps the order of the images and the last, smaller batch.
"""

import itertools
import weakref
from numbers import Integral
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
import tensorflow as tf

from kerasresnet.augmentation import (
    Augmentation,
    Preset,
    as_augmentation,
    make_mixture,
    make_views,
    mixes,
)
from kerasresnet.backends import leave_gpus
from kerasresnet.balance import Sampling, balanced_rows, check_balance
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError, readable
from kerasresnet.images import ImageData
from kerasresnet.pixels import PixelStore, check_batch_size

PixelCache: TypeAlias = Literal["auto", "memory", False]


class Start(NamedTuple):
    """Where in the order of a run its batches begin.

    Args:
        epoch: Number of the first epoch.
        batch: Number of the first batch in it; unless that is 0, the batches are those
            of the rest of one epoch.
    """

    epoch: int = 0
    batch: int = 0


BEGINNING = Start()


class _Order(NamedTuple):
    batch_size: int
    training: bool = False
    sampling: Sampling | None = None
    seed: int = 0
    start: Start = BEGINNING


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


def make_dataset(  # noqa: PLR0913 - the public contract
    data: ImageData,
    *,
    training: bool = False,
    image_size: tuple[int, int] = (224, 224),
    batch_size: int = 32,
    augmentation: Augmentation | Preset | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
    cache: PixelCache = "auto",
    on_error: OnError = "raise",
) -> Any:
    """Makes a `tf.data.Dataset` of batches, for Keras's own `fit` and `evaluate`.

    Args:
        data: Which images.
        training: Whether to shuffle (over the whole set, anew in each epoch) and to
            augment. Otherwise images come in their order, each exactly once.
        image_size: Height and width that images are resized to, antialiased.
        batch_size: Images in a batch. The last one may be smaller.
        augmentation: Random views, drawn anew in each epoch: an `Augmentation`, or
            `"light"`, `"standard"` or `"strong"`. Needs `training=True`.
        sampling: `"balanced"` draws the images of an epoch in equal numbers from all
            classes. Needs `training=True`. Defaults to each image once.
        seed: Decides order and views: the same seed gives the same batches.
        cache: Whether decoded photos are kept in memory: `"auto"` up to 2 GiB,
            `"memory"` always, False never.
        on_error: `"skip"` looks at every photo first and leaves out those that cannot
            be read; the log names them.

    Returns:
        A `tf.data.Dataset` of `(images, labels)`: RGB in 0..255 of shape
        `(batch, H, W, 3)`, uint8 (float32 if augmented or made of float arrays), and
        int32 labels of shape `(batch,)`; float32 labels of shape `(batch, classes)` if
        images are mixed. Unlabelled data gives images alone.

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
    augmentation = as_augmentation(augmentation)
    check_order(batch_size, augmentation, seed)
    if augmentation is not None and not training:
        raise ValueError(
            "augmentation was given with training=False: images that are scored must not "
            "be changed. Pass training=True, or no augmentation."
        )
    if mixes(augmentation) and data.labels is None:
        raise ValueError(
            "mixup and cutmix mix labels with the images, but these images have none. "
            "Pass labelled data, or mixup=0 and cutmix=0."
        )
    check_balance(None, sampling)
    if sampling is not None and (not training or data.labels is None):
        raise ValueError(
            "sampling chooses training images by their classes. Pass training=True and "
            "labelled data, or no sampling."
        )
    data = readable(data, on_error)
    pixels = PixelStore(data, image_size, cache)
    return _batches(
        pixels,
        _Order(batch_size, training, sampling, seed),
        labels=data.labels,
        augmentation=augmentation,
        classes=len(data.class_names) if mixes(augmentation) else None,
    )


def training_batches(
    images: ImageData,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    augmentation: Augmentation | None,
    cache: PixelCache,
    seed: int,
    sampling: Sampling | None = None,
    start: Start = BEGINNING,
) -> Any:
    """Makes the shuffled batches for a model.

    Every photo is read before the first batch, also if none is kept.

    Args:
        images: What `inputs.training_images` returned.
        image_size: The model's.
        batch_size: Images in a batch.
        augmentation: Random views.
        cache: As in `make_dataset`.
        seed: As in `make_dataset`.
        sampling: As in `make_dataset`.
        start: Where in the order of a run they begin.

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
        _Order(batch_size, training=True, sampling=sampling, seed=seed, start=start),
        labels=images.labels,
        augmentation=augmentation,
        classes=len(images.class_names) if mixes(augmentation) else None,
    )


def evaluation_batches(
    images: ImageData,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    cache: PixelCache = False,
    classes: int | None = None,
) -> Any:
    """Makes the batches to score: every image once, in order.

    Args:
        images: Labelled images.
        image_size: The model's.
        batch_size: Images in a batch.
        cache: As in `make_dataset`; when on, every photo is read before the first.
        classes: Gives labels as one-hot rows of so many classes. Defaults to integers.

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
    return _batches(pixels, _Order(batch_size), labels=images.labels, classes=classes)


def check_order(
    batch_size: Any, augmentation: Augmentation | None = None, seed: Any = 0
) -> None:
    """Raises a `ValueError` unless batches can be made of these."""
    check_batch_size(batch_size)
    as_augmentation(augmentation)
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, received {seed}.")


def feature_batches(
    rows: Rows,
    labels: Any,
    *,
    batch_size: int,
    training: bool = False,
    classes: int | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
    start: Start = BEGINNING,
) -> Any:
    """Makes batches of features in the order in which `make_dataset` gives images.

    Args:
        rows: What holds the features.
        labels: For each row what is to be learned: an array, or several in a tuple.
        batch_size: Rows in a batch. The last one may be smaller.
        training: Whether to shuffle, anew in each epoch.
        classes: As in `evaluation_batches`.
        sampling: As in `make_dataset`.
        seed: Decides order and views.
        start: Where in the order of a run they begin.

    Returns:
        A `tf.data.Dataset` of `({"features": …}, labels)`.

    Raises:
        ValueError: If `batch_size` or `seed` is out of range.
    """
    check_order(batch_size, seed=seed)
    order = _Order(batch_size, training, sampling, seed, start)
    return _keyed(_batches(rows, order, labels=labels, classes=classes), "features")


def keyed_images(dataset: Any) -> Any:
    """Turns batches `(images, …)` into `({"images": images}, …)`, for a model's twin."""
    return _keyed(dataset, "images")


def _keyed(dataset: Any, key: str) -> Any:
    keyed = dataset.map(lambda values, *rest: ({key: values}, *rest))
    keyed._source = dataset  # and what it reads from
    return keyed


def _batches(
    store: Rows,
    order: _Order,
    *,
    labels: Any,
    augmentation: Augmentation | None = None,
    classes: int | None = None,
) -> Any:
    leave_gpus()
    shape = (None, *store.shape)
    read, dtypes = _reader(store, augmentation)
    rows = _rows(len(store), order, labels if order.sampling else None)
    dataset = rows.batch(order.batch_size)

    @tf.autograph.experimental.do_not_convert
    def load(indices: Any, seeds: Any) -> Any:
        columns = _columns(labels, indices, classes)
        if mixes(augmentation):
            values, rows = tf.numpy_function(read, [indices, seeds, *columns], dtypes)
            columns = [tf.ensure_shape(rows, (None, classes))]
        else:
            values = tf.numpy_function(read, [indices, seeds], dtypes)
        values = tf.ensure_shape(values, shape)
        return values if labels is None else (values, *columns)

    dataset = dataset.map(load, num_parallel_calls=2, deterministic=True).prefetch(2)
    dataset = dataset.with_options(_options())
    dataset._store = store  # lives as long as the dataset and its iterators
    return dataset


def _reader(store: Rows, augmentation: Augmentation | None) -> tuple[Any, Any]:
    """What reads the values of some rows, and the dtypes of what it returns.

    If images are mixed it is given their labels, too, and returns them.
    """
    # TensorFlow keeps every Python function that it was given for the life of the
    # process; this one must not keep the rows with it.
    held = weakref.ref(store)

    def read(indices: Pixels, draws: Pixels) -> Pixels:
        return cast("Rows", held()).batch(indices, draws)

    if augmentation is None:
        return read, store.dtype
    how = augmentation

    def vary(indices: Pixels, draws: Pixels) -> Pixels:
        return make_views(how, read(indices, draws), np.stack([draws, indices], -1))

    def mix(indices: Pixels, draws: Pixels, labels: Pixels) -> tuple[Pixels, Pixels]:
        seeds = np.stack([draws, indices], -1)
        return make_mixture(how, read(indices, draws), labels, seeds)

    return (mix, [tf.float32] * 2) if how.mixes else (vary, tf.float32)


def _columns(labels: Any, indices: Any, classes: int | None) -> list[Any]:
    """The labels of some rows, in as many columns as there are kinds of them."""
    kinds = labels if isinstance(labels, tuple) else () if labels is None else (labels,)
    columns = [tf.gather(tf.constant(kind), indices) for kind in kinds]
    if classes is None:
        return columns
    return [tf.one_hot(column, classes) for column in columns]


def _options() -> Any:
    options = tf.data.Options()
    # There is nothing to tune, and an iterator that is tuned is deleted, at the end of
    # each epoch, only when its tuner wakes up, which may take seconds.
    options.autotune.enabled = False
    return options


def _rows(count: int, order: _Order, balanced: Pixels | None) -> Any:
    """Row numbers, each with a seed for its view; drawn anew in each epoch.

    With labels for `balanced`, the classes in equal numbers.

    By NumPy, because TensorFlow mixes the global seed into its own shuffle. Drawn before
    the parallel part, so that views do not depend on timing.
    """
    epochs = itertools.count(order.start.epoch)
    skipped = order.start.batch * order.batch_size

    def draw() -> tuple[Pixels, Pixels]:
        rng = np.random.default_rng((order.seed, next(epochs)))
        if balanced is not None:
            rows = balanced_rows(balanced, rng)
        else:
            rows = rng.permutation(count) if order.training else np.arange(count)
        return rows[skipped:], rng.integers(2**31, size=count)[skipped:]

    @tf.autograph.experimental.do_not_convert
    def epoch(_: Any) -> Any:
        drawn = tf.numpy_function(draw, [], [tf.int64, tf.int64])
        drawn = [tf.ensure_shape(column, [count - skipped]) for column in drawn]
        return tf.data.Dataset.from_tensor_slices(tuple(drawn))

    rows = tf.data.Dataset.range(1).flat_map(epoch)
    return rows.apply(tf.data.experimental.assert_cardinality(count - skipped))
