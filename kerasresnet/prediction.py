"""From anything that is an image to named predictions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from kerasresnet.certainty import UNKNOWN, check_certainty, prediction_sets
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.decoding import (
    Photo,
    Pixels,
    UnreadableError,
    check_values,
    read_image,
)
from kerasresnet.division import (
    OnError,
    check_on_error,
    readable,
    report_left_out,
)
from kerasresnet.errors import DataError, not_numbers
from kerasresnet.images import ImageData
from kerasresnet.notebooks import prediction_html
from kerasresnet.pixels import image_batches

Images: TypeAlias = Photo | ImageData | Sequence[Photo]


@dataclass(frozen=True)
class Prediction:
    """What the model says about one image.

    Args:
        source: Where the image is from: a path, or a name such as `"image 3"`.
        label: Name of the most probable class; `"unknown"` if its probability is below
            the model's `threshold`.
        probability: Probability of the most probable class, 0..1.
        top: Pairs of class name and probability, most probable first.
        image: The pixels, if the image was not a file.
        labels: Names of the classes that it may be, most probable first, if `predict` was
            asked for a coverage.
    """

    source: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    image: Pixels | None = field(default=None, repr=False, compare=False)
    labels: tuple[str, ...] | None = None

    def __str__(self) -> str:
        answers = ", ".join(
            f"{name} {probability:.1%}" for name, probability in self.top
        )
        if self.label == UNKNOWN:
            answers = f"{UNKNOWN} ({answers})"
        if self.labels is not None:
            answers += f"; may be {', '.join(self.labels)}"
        return f"{self.source}: {answers}"

    def _repr_html_(self) -> str:
        return prediction_html(str(self), self.top, self.image, self.source)


def predict(
    model: Classifier,
    images: Images,
    *,
    top: int = 5,
    coverage: float | None = None,
    batch_size: int = 32,
    on_error: OnError = "raise",
) -> list[Prediction]:
    """Names what is on images.

    A model with a threshold, see `choose_threshold`, calls an image `"unknown"` whose most
    probable class is less probable than that.

    With `coverage`, each prediction has a set of classes in `labels` that holds the right
    one in at least this share of images, on average over images like those that
    `calibrate` was given, whatever the model: split conformal prediction (Sadinle et al.
    2019, https://arxiv.org/abs/1609.00451; Angelopoulos & Bates 2021,
    https://arxiv.org/abs/2107.07511). The set holds every class whose probability is high
    enough, and always the most probable one. It promises nothing for foreign images.

    Args:
        model: A `Classifier`.
        images: A path, a folder (every photo in it and below it, sorted), the bytes of
            a file, a PIL image, an array `(H, W, 3)` or `(N, H, W, 3)` in 0..255,
            `ImageData`, or a list of paths, bytes, PIL images and arrays.
        top: Number of classes to name for each image.
        coverage: Share of the sets in `labels` that hold the right class, in (0, 1); None
            for no sets. The model must be calibrated.
        batch_size: Images in a batch.
        on_error: What becomes of images that cannot be read: `"raise"` ends the call and
            names them, `"skip"` leaves them out, and the log names them. `source` tells
            which image a prediction is of.

    Returns:
        A `Prediction` for each image, in order.

    Raises:
        DataError: If an image cannot be read, a folder has none, or the model gives NaN.
        ValueError: If `top` is not positive, `coverage` is asked of a model that is not
            calibrated, or its weights have changed since its threshold was chosen.

    Example:

    >>> model = kr.build_classifier(class_names=["cat", "dog"], weights=None)
    >>> photo = np.zeros((300, 200, 3), "uint8")
    >>> prediction = kr.predict(model, photo, top=1)[0]
    >>> prediction.source, prediction.label in model.class_names
    ('image 0', True)
    """
    check_classifier(model)
    if top < 1:
        raise ValueError(f"top must be at least 1, received {top}.")
    certainty = check_certainty(model, coverage)
    data, sources = gather(images, model.image_size, on_error)
    scores = probabilities(model, data, batch_size=batch_size)
    sets = None
    if certainty is not None and coverage is not None:
        sets = prediction_sets(certainty, scores, coverage)
    ranks = np.argsort(-scores, axis=1, kind="stable")
    names = model.class_names
    predictions = []
    for index, (source, row, best) in enumerate(
        zip(sources, scores, ranks, strict=True)
    ):
        answers = tuple((names[i], float(row[i])) for i in best[:top])
        label, probability = answers[0]
        pixels = _held(data.photo(index), model.image_size)
        labels = None
        if sets is not None:
            labels = tuple(names[i] for i in best if sets[index, i])
        if model.threshold is not None and not probability >= model.threshold:
            label = UNKNOWN
        predictions.append(
            Prediction(source, label, probability, answers, pixels, labels)
        )
    return predictions


def _held(photo: Photo, image_size: tuple[int, int]) -> Pixels | None:
    """The pixels of an image that is no file."""
    if isinstance(photo, Path):
        return None
    return photo if isinstance(photo, np.ndarray) else read_image(photo, image_size)


def probabilities(
    model: Classifier, data: ImageData, *, batch_size: int = 32
) -> Pixels:
    """Returns the class probabilities of images.

    Args:
        model: A `Classifier`.
        data: Which images; labels are ignored.
        batch_size: Images in a batch.

    Returns:
        A float array of shape `(N, classes)`; row i belongs to image i.

    Raises:
        DataError: If an image cannot be read, or the model gives NaN.
    """
    # A last batch is filled up, since each new shape is compiled anew.
    size = min(batch_size, len(data))
    batches = image_batches(data, image_size=model.image_size, batch_size=batch_size)
    found = np.concatenate([_scores(model, images, size) for images in batches])
    if np.isnan(found).any():
        raise not_numbers()
    return found


def gather(
    images: Images, image_size: tuple[int, int], on_error: OnError = "raise"
) -> tuple[ImageData, tuple[str, ...]]:
    """Lists whatever a user calls images.

    Args:
        images: As in `predict`.
        image_size: Size at which images in memory are kept.
        on_error: As in `predict`.

    Returns:
        A tuple `(data, sources)` with a source for each image.

    Raises:
        DataError: If there is no image, or one in memory cannot be read.
    """
    listed = _listed(images)
    if isinstance(listed, ImageData):
        data = readable(listed, on_error)
        return data, data.sources
    photos, sources = _in_memory(listed, image_size, on_error)
    return ImageData((), images=photos, rows=np.arange(len(photos))), sources


def _listed(images: Images) -> ImageData | list[Photo]:
    """Images that are listed already, are files or one array; or else one by one."""
    if isinstance(images, ImageData):
        return images
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return ImageData.from_arrays(images)
    if isinstance(images, str | Path):
        return ImageData.from_paths(images)
    if isinstance(images, bytes | Image.Image | np.ndarray):
        return [images]
    if not isinstance(images, Iterable):
        raise DataError(
            f"Expected paths, bytes, PIL images or arrays, received {type(images).__name__}."
        )
    photos = list(images)
    if not photos:
        raise DataError("There is no image to predict.")
    paths = [photo for photo in photos if isinstance(photo, str | Path)]
    if len(paths) < len(photos):
        return photos
    return ImageData.from_paths([file for path in paths for file in _files(path)])


def _in_memory(
    photos: Sequence[Photo], image_size: tuple[int, int], on_error: OnError
) -> tuple[Pixels, tuple[str, ...]]:
    check_on_error(on_error)
    found: list[Pixels] = []
    sources: list[str] = []
    problems: list[str] = []
    for number, photo in enumerate(photos):
        try:
            found.append(_read(photo, image_size))
        except UnreadableError as error:
            if on_error == "raise":
                raise
            problems.append(f"image {number}: {error.reason}")
        else:
            sources.append(_source(photo, number))
    if problems:
        report_left_out(problems, len(photos))
    if not found:
        raise DataError(f"None of the {len(photos):,} images can be read.")
    return np.stack(found), tuple(sources)


def _scores(model: Classifier, images: Pixels, size: int) -> Pixels:
    missing = size - len(images)
    padded = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    return np.asarray(model.predict_on_batch(padded))[: len(images)]


def _files(path: str | Path) -> tuple[Path, ...]:
    return ImageData.from_paths(path).paths or ()


def _read(photo: Photo, image_size: tuple[int, int]) -> Pixels:
    if not isinstance(photo, str | Path | bytes | Image.Image | np.ndarray):
        raise DataError(
            f"Expected paths, bytes, PIL images or arrays, received {type(photo).__name__}."
        )
    if isinstance(photo, np.ndarray) and photo.dtype.kind == "f" and photo.size:
        # A float array all zero is a black photo; one up to 1 was divided by 255.
        low, high = float(photo.min()), float(photo.max())
        check_values(low, high, whole_set=high > 0)
    return read_image(photo, image_size)


def _source(photo: Photo, number: int) -> str:
    if isinstance(photo, str | Path):
        return str(photo)
    name = getattr(photo, "filename", "") if isinstance(photo, Image.Image) else ""
    return str(name or f"image {number}")
