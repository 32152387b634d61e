"""A `tf.data.Dataset` of the user's own: what it must give, and how its errors read."""

import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from kerasresnet.backends import leave_gpus
from kerasresnet.decoding import Pixels, check_values
from kerasresnet.errors import DataError, listing

_CHUNK = 256


def is_dataset(data: object) -> bool:
    """Returns whether `data` is a `tf.data.Dataset`."""
    return isinstance(data, tf.data.Dataset)


def checked_dataset(
    dataset: Any,
    class_names: tuple[str, ...],
    named: bool,
    image_size: tuple[int, int],
) -> Any:
    """Checks a dataset's form and its first batch now, and every label as it comes.

    Args:
        dataset: A `tf.data.Dataset` of batches.
        class_names: The model's classes.
        named: Whether these are names, not just numbers.
        image_size: The model's height and width.

    Returns:
        A `tf.data.Dataset` of the same batches.

    Raises:
        DataError: If the batches do not fit the model.
    """
    leave_gpus()
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) < 2:
        raise DataError(
            "The dataset gives no labels. Expected batches of (images, labels)."
        )
    shape = spec[0].shape
    if shape.rank not in (None, 4):
        raise DataError(
            f"The dataset gives images of shape {shape}, expected batches of shape "
            f"(batch, {image_size[0]}, {image_size[1]}, 3). Call dataset.batch(32) first."
        )
    if shape.rank == 4 and not shape.is_compatible_with((None, *image_size, 3)):
        raise DataError(
            f"The dataset gives images of shape {tuple(shape[1:])}, but the model takes "
            f"{(*image_size, 3)}. Resize them, or pass ImageData, which is resized here."
        )
    if named:
        _check_names(getattr(dataset, "class_names", None), class_names)
    first = next(iter(dataset), None)
    if first is None:
        raise DataError("The dataset is empty.")
    images = np.asarray(first[0])
    check_values(float(images.min()), float(images.max()), whole_set=True)
    return _with_checked_labels(dataset, spec[1], len(class_names))


def _with_checked_labels(dataset: Any, spec: Any, count: int) -> Any:
    _check_label_spec(spec, count)

    def check(labels: Pixels) -> Pixels:
        if labels.ndim > 1 and labels.shape[-1] == count:
            if not np.allclose(labels.sum(axis=-1), 1, atol=1e-3):
                raise DataError("The dataset has rows of labels that do not sum to 1.")
        elif not np.isin(labels, np.arange(count)).all():
            raise DataError(
                f"The dataset's labels run from {labels.min()} to {labels.max()}, but the "
                f"model has {count} classes: expected 0 to {count - 1}."
            )
        return labels

    @tf.autograph.experimental.do_not_convert
    def checked(images: Any, labels: Any, *rest: Any) -> Any:
        same = tf.numpy_function(check, [labels], labels.dtype)
        return images, tf.ensure_shape(same, labels.shape), *rest

    return dataset.map(checked)


def _check_label_spec(spec: Any, count: int) -> None:
    if not (spec.dtype.is_integer or spec.dtype.is_floating):
        raise DataError(
            f"The dataset gives labels of type {spec.dtype.name}, expected integers or "
            "one-hot rows."
        )
    in_rows = spec.shape.rank is not None and spec.shape.rank > 1
    if in_rows and spec.shape[-1] not in (None, 1, count):
        raise DataError(
            f"The dataset gives one-hot labels of {spec.shape[-1]} classes, but the "
            f"model has {count} outputs."
        )


def _check_names(found: Sequence[str] | None, class_names: tuple[str, ...]) -> None:
    if found is not None and tuple(found) != class_names:
        raise DataError(
            f"The dataset's classes are {listing(found, 20)}, the model's are "
            f"{listing(class_names, 20)}. Their order must be the same; ImageData is matched "
            "by name."
        )


@contextmanager
def data_errors() -> Iterator[None]:
    """Turns TensorFlow's report of an unreadable photo back into the `DataError`."""
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(
            r"(?:Data|Unreadable)Error: (.*?)\s*\nTraceback", error.message, re.DOTALL
        )
        if found is None:
            raise
    else:
        return
    # Raised here, and collected, so that no traceback keeps TensorFlow's iterator: one
    # that is alive when Python ends can block its end.
    gc.collect()
    raise DataError(found.group(1))


def dataset_chunks(
    dataset: Any, image_size: tuple[int, int], *, labelled: bool
) -> Iterator[tuple[Pixels, tuple[Pixels, ...], int]]:
    """Gives a dataset's images and what comes with them, some hundred at a time.

    Args:
        dataset: A `tf.data.Dataset` of batches.
        image_size: Height and width that its images must have.
        labelled: Whether what comes with the images is wanted.

    Yields:
        A tuple of the images, a tuple of labels and the like, and the size of the
        largest batch.

    Raises:
        DataError: If the dataset is empty or endless, gives images of another size, or
            not as many batches as it announces.
    """
    announced = int(dataset.cardinality())
    if announced == tf.data.INFINITE_CARDINALITY:
        raise DataError(
            "The dataset is endless. Call dataset.take(n), or leave out repeat()."
        )
    held: list[tuple[Pixels, ...]] = []
    batches = 0
    for columns in _columns(dataset, announced, labelled):
        held.append(columns)
        _check_batch(columns[0], image_size, first=not batches)
        batches += 1
        if sum(len(columns[0]) for columns in held) >= _CHUNK:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)
    if not batches:
        raise DataError("The dataset is empty.")
    if announced not in (batches, tf.data.UNKNOWN_CARDINALITY):
        raise _miscounted(announced)


def _columns(
    dataset: Any, announced: int, labelled: bool
) -> Iterator[tuple[Pixels, ...]]:
    try:
        for batch in dataset:
            columns = batch if isinstance(batch, tuple) else (batch,)
            wanted = columns if labelled else columns[:1]
            yield tuple(np.asarray(column) for column in wanted)
    except tf.errors.FailedPreconditionError as error:
        # By this TensorFlow says that a cardinality was asserted wrongly.
        raise _miscounted(announced) from error


def _miscounted(announced: int) -> DataError:
    return DataError(
        f"The dataset announces {announced} batches, but gave another number in this pass: "
        "its features would not belong to the same images. Make each pass give the same."
    )


def _joined(
    held: Sequence[tuple[Pixels, ...]],
) -> tuple[Pixels, tuple[Pixels, ...], int]:
    images, *rest = (np.concatenate(parts) for parts in zip(*held, strict=True))
    return images, tuple(rest), max(len(columns[0]) for columns in held)


def _check_batch(images: Pixels, image_size: tuple[int, int], *, first: bool) -> None:
    if images.shape[1:] != (*image_size, 3):
        raise DataError(
            f"The dataset gives images of shape {images.shape[1:]}, but the model takes "
            f"{(*image_size, 3)}. Resize them, or pass ImageData, which is resized here."
        )
    check_values(float(images.min()), float(images.max()), whole_set=first)
