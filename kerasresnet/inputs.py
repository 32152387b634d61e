"""What a model is given to learn from: checked against its classes, nothing computed yet."""

import logging
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from kerasresnet.arrays import check_names
from kerasresnet.classifier import Classifier, is_fresh
from kerasresnet.datasets import checked_dataset, data_errors, is_dataset
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError, check_on_error, readable
from kerasresnet.errors import DataError, listing
from kerasresnet.images import ImageData

Data: TypeAlias = Any  # ImageData, a tf.data.Dataset, or a pair of arrays

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """Checked data, and the class names that its labels count in."""

    class_names: tuple[str, ...]
    named: bool
    train: Any
    validation: Any


def checked_inputs(
    model: Classifier, train: Data, validation: Data | None, on_error: OnError
) -> Inputs:
    """Checks all that may be refused of the data, before anything is changed or computed.

    Args:
        model: What it is for.
        train: As in `fit`.
        validation: As in `fit`.
        on_error: As in `fit`.

    Raises:
        DataError: If the data does not fit the model.
        ValueError: If `on_error` is unknown, or asks to skip images of a `Dataset`.
    """
    for data in (train, validation):
        check_skipping(data, on_error)
    if isinstance(train, tuple | list) and len(train) == 2 and not model.named:
        train = ImageData.from_arrays(*train)
    names, named = _names_after(model, train)
    size = model.image_size
    if is_dataset(train):
        train = checked_dataset(train, names, named, size)
    else:
        train = readable(training_images(train, names, named=named), on_error)
    if is_dataset(validation):
        validation = checked_dataset(validation, names, named, size)
    elif validation is not None:
        validation = as_image_data(validation, names, named=named)
        validation = readable(validation, on_error)
    return Inputs(names, named, train, validation)


def class_counts(inputs: Inputs, class_weight: Any) -> dict[str, int]:
    """Returns the number of training images of each class.

    Args:
        inputs: Checked data.
        class_weight: As in `fit`; the labels of a `Dataset` are counted only if they are
            to be balanced, else its counts are 0.
    """
    if not is_dataset(inputs.train):
        return inputs.train.counts()
    found = np.zeros(len(inputs.class_names), "int64")
    if class_weight == "balanced":
        _log.info("The labels of the tf.data.Dataset are counted, in one pass over it.")
        with data_errors():
            for _, labels, *_ in inputs.train:
                numbers = integer_labels(np.asarray(labels))
                found += np.bincount(numbers, minlength=len(found))
    return dict(zip(inputs.class_names, found.tolist(), strict=True))


def take_names(model: Classifier, inputs: Inputs) -> None:
    """Gives a model without class names those of its data, and says so.

    Args:
        model: It is changed.
        inputs: Its checked data.
    """
    if not inputs.named or model.named:
        return
    trained = not is_fresh(model)
    _log.log(
        logging.WARNING if trained else logging.INFO,
        "The model%s takes the data's names, in their order: %s.",
        ", trained without class names," if trained else "",
        listing(inputs.class_names),
    )
    model.class_names = inputs.class_names


def integer_labels(labels: Pixels) -> Pixels:
    """Returns labels in any form as class numbers, integers of shape `(N,)`.

    Args:
        labels: Integers of shape `(N,)` or `(N, 1)`, or rows, of which the largest counts.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        return labels.argmax(axis=1)
    return labels.reshape(-1).astype("int64")


def _names_after(model: Classifier, train: Data) -> tuple[tuple[str, ...], bool]:
    """The class names that the model will have, its own or the data's if it has none."""
    # Keras's image_dataset_from_directory puts the names on its dataset, too.
    found = check_names(getattr(train, "class_names", None) or ())
    named = getattr(train, "named", True) and len(found) == len(model.class_names)
    return (
        (found, True) if named and not model.named else (model.class_names, model.named)
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
    parts = dict.fromkeys(images.parts or ())
    if len(parts) > 1:
        raise DataError(
            f"The training data is divided into {listing(parts)}, and would be trained on as "
            "a whole. data.split() gives its parts: train on the first."
        )
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


def check_skipping(data: Data, on_error: OnError) -> None:
    """Raises a `ValueError` if unreadable images of `data` cannot be treated so.

    Args:
        data: As in `fit`.
        on_error: As in `fit`.
    """
    check_on_error(on_error)
    if is_dataset(data) and on_error == "skip":
        raise ValueError(
            "on_error='skip' works on ImageData. A tf.data.Dataset reads its images by "
            "itself: leave out the unreadable ones in it."
        )
