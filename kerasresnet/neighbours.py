"""Which images are near each other in the features of a model, and which are alone.

Similarity is the cosine of the angle between pooled features, 1 for the same direction.
What is the same by its pixels alone, without a model, is found by `data.check()`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.caching import Cache
from kerasresnet.classifier import Classifier
from kerasresnet.decoding import Photo, Pixels
from kerasresnet.errors import DataError, count_of
from kerasresnet.extraction import Verbosity
from kerasresnet.features import extract_features
from kerasresnet.images import ImageData
from kerasresnet.pixels import content_digests

# Similarities that are held at a time: 128 MB, however many images there are.
_AT_A_TIME = 2**25

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LookAlike:
    """An image that looks like another to a model.

    Args:
        source: Where it is from.
        label: Name of its class, or None if it is unlabelled.
        similarity: Cosine of its features and those of the other image, at most 1.
        identical: Whether its content is that of the other image, byte for byte.
        photo: Its path, bytes or pixels.
    """

    source: str
    label: str | None
    similarity: float
    identical: bool
    photo: Path | bytes | Pixels = field(repr=False, compare=False)


@dataclass(frozen=True)
class Outlier:
    """An image that is far from all others in the features of a model.

    Args:
        source: Where it is from.
        label: Name of its class, or None if it is unlabelled.
        distance: Mean of 1 - similarity to its nearest neighbours, 0..2.
    """

    source: str
    label: str | None
    distance: float


@dataclass(frozen=True)
class NearDuplicate:
    """Two images that are almost the same to a model.

    Args:
        sources: Where they are from.
        labels: Names of their classes, each None if it is unlabelled.
        similarity: Cosine of their features, at most 1.
    """

    sources: tuple[str, str]
    labels: tuple[str | None, str | None]
    similarity: float


def look_alikes(
    model: Classifier,
    image: Photo,
    data: Any,
    *,
    n: int = 9,
    batch_size: int = 32,
    verbose: Verbosity = "auto",
) -> list[LookAlike]:
    """Finds the images that look most like one image to a model.

    If a model is wrong about a photo, its nearest training photos often say why: they are
    of the class that it named, or labelled wrong.

    Args:
        model: A `Classifier`. It is not changed.
        image: A path, the bytes of a file, a PIL image or an array `(H, W, 3)` in 0..255.
        data: Where to look: `ImageData`, an array of images, or a pair
            `(images, labels)`. Its features are kept in the cache.
        n: Number of images to find; all if there are fewer.
        batch_size: Images that are computed at a time.
        verbose: 0 silent, 1 progress bar, 2 one line.

    Returns:
        A list of `LookAlike`, the most similar first. The file `image` itself is left out
        if it is in `data`; anything else with the same content is marked `identical`.

    Raises:
        DataError: If there is no image, or one cannot be read.
        ValueError: If `n` is not positive.

    Example:

    >>> train = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(
    ...     class_names=train.class_names, weights=None, input_shape=(32, 32, 3)
    ... )
    >>> probe = kr.probe(model, train, verbose=0)
    >>> found = kr.look_alikes(model, "photo.jpg", train, n=3, verbose=0)
    >>> len(found), found[0].identical
    (3, True)
    """
    _check_number("n", n)
    listed, wanted = as_images(data), _one_image(image)
    (content,) = content_digests(wanted)
    identical = np.array([one == content for one in content_digests(listed)])
    rows = directions(model, listed, batch_size, verbose)
    if identical.any():
        direction = rows[identical.argmax()]
    else:
        # Not kept: the next question is another one.
        (direction,) = directions(model, wanted, 1, 0, cache="memory")
    similarities = np.minimum(rows @ direction, 1)  # not more, by rounding
    order = np.argsort(-similarities, kind="stable").tolist()
    others = (i for i in order if not (identical[i] and _same_file(listed, i, wanted)))
    names, sources = _names(listed), listed.sources
    return [
        LookAlike(
            sources[i],
            names[i],
            float(similarities[i]),
            bool(identical[i]),
            listed.photo(i),
        )
        for i in islice(others, n)
    ]


def find_outliers(
    model: Classifier,
    data: Any,
    *,
    n: int = 9,
    neighbours: int = 10,
    batch_size: int = 32,
    verbose: Verbosity = "auto",
) -> list[Outlier]:
    """Finds the images that are farthest from all others in the features of a model.

    By the mean distance to the nearest neighbours, after Angiulli and Pizzuti (2002,
    https://doi.org/10.1007/3-540-45681-3_2). Labels play no part: what does not belong to
    any class stands out, what is in the wrong class does not.

    Args:
        model: A `Classifier`. It is not changed.
        data: As in `look_alikes`, at least two images.
        n: Number of images to find; all if there are fewer.
        neighbours: How many of the nearest images count. Larger than the largest group of
            odd images that are alike.
        batch_size: Images that are computed at a time.
        verbose: 0 silent, 1 progress bar, 2 one line.

    Returns:
        A list of `Outlier`, the farthest first. There is no threshold: the list has n
        entries even if nothing is odd.

    Raises:
        DataError: If there are fewer than two images, or one cannot be read.
        ValueError: If `n` or `neighbours` is not positive.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> probe = kr.probe(model, data, verbose=0)
    >>> len(kr.find_outliers(model, data, n=3, verbose=0))
    3
    """
    _check_number("n", n)
    _check_number("neighbours", neighbours)
    listed = _several(data)
    rows = directions(model, listed, batch_size, verbose)
    distances = _distances(rows, min(neighbours, len(rows) - 1))
    names, sources = _names(listed), listed.sources
    return [
        Outlier(sources[i], names[i], float(distances[i]))
        for i in np.argsort(-distances, kind="stable")[:n]
    ]


def find_near_duplicates(
    model: Classifier,
    data: Any,
    *,
    threshold: float = 0.95,
    n: int = 1000,
    batch_size: int = 32,
    verbose: Verbosity = "auto",
) -> list[NearDuplicate]:
    """Finds pairs of images that are almost the same to a model.

    Photos of one scene, crops and mirrored copies, which `data.check()` does not find by
    their pixels. What similarity is worth looking at depends on the model: begin with the
    first pairs of the list.

    Args:
        model: A `Classifier`. It is not changed.
        data: As in `look_alikes`, at least two images.
        threshold: The least similarity of a pair, up to 1.
        n: Largest number of pairs; the log says if there are more.
        batch_size: Images that are computed at a time.
        verbose: 0 silent, 1 progress bar, 2 one line.

    Returns:
        A list of `NearDuplicate`, the most similar first.

    Raises:
        DataError: If there are fewer than two images, or one cannot be read.
        ValueError: If `threshold` or `n` is out of range.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> probe = kr.probe(model, data, verbose=0)
    >>> pairs = kr.find_near_duplicates(model, data, threshold=0.5, n=2, verbose=0)
    >>> pairs[0].similarity >= pairs[1].similarity
    True
    """
    _check_number("n", n)
    if not -1 < threshold <= 1:
        raise ValueError(f"threshold must be in (-1, 1], received {threshold}.")
    listed = _several(data)
    rows = directions(model, listed, batch_size, verbose)
    pairs, similarities, total = _near_pairs(rows, threshold, n)
    if total > n:
        _log.warning(
            "%d pairs are at least %.3g similar; the %d most similar are listed.",
            total,
            threshold,
            n,
        )
    names, sources = _names(listed), listed.sources
    return [
        NearDuplicate((sources[i], sources[j]), (names[i], names[j]), float(similarity))
        for (i, j), similarity in zip(pairs, similarities, strict=True)
    ]


def _distances(rows: Pixels, neighbours: int) -> Pixels:
    """For each row the mean of 1 - similarity to its nearest others."""
    found = np.empty(len(rows), "float32")
    for first, similarities in _chunks(rows):
        count = len(similarities)
        similarities[np.arange(count), np.arange(first, first + count)] = -np.inf
        nearest = np.partition(similarities, -neighbours, axis=1)[:, -neighbours:]
        found[first : first + count] = 1 - nearest.mean(axis=1)
    return np.maximum(found, 0)  # not less, by rounding


def _near_pairs(
    rows: Pixels, threshold: float, n: int
) -> tuple[list[tuple[int, int]], Pixels, int]:
    """Pairs i < j, the most similar first, their similarities, and how many there are."""
    pairs = np.empty((0, 2), "int64")
    values = np.empty(0, "float32")
    total = 0
    for first, similarities in _chunks(rows, above=True):
        one, other = np.nonzero(np.triu(similarities >= threshold, 1))
        total += len(one)
        pairs = np.concatenate([pairs, np.stack([one, other], axis=1) + first])
        values = np.concatenate([values, similarities[one, other]])
        best = np.argsort(-values, kind="stable")[:n]
        pairs, values = pairs[best], values[best]
    return [(int(i), int(j)) for i, j in pairs], np.minimum(values, 1), total


def _chunks(rows: Pixels, *, above: bool = False) -> Iterator[tuple[int, Pixels]]:
    """Similarities of some rows to all, or only to themselves and those above them."""
    step = max(1, _AT_A_TIME // len(rows))
    for first in range(0, len(rows), step):
        others = rows[first:] if above else rows
        yield first, rows[first : first + step] @ others.T


def directions(
    model: Classifier,
    data: Any,
    batch_size: int,
    verbose: Verbosity,
    cache: Cache = "auto",
) -> Pixels:
    """Returns pooled features of length 1, float32 of shape `(N, D)`.

    Features that are all 0 stay so.

    Args:
        model: A `Classifier`.
        data: As in `extract_features`, like all below.
        batch_size: Images that are computed at a time.
        verbose: As in Keras.
        cache: Where features are kept.
    """
    rows = extract_features(
        model, data, batch_size=batch_size, cache=cache, verbose=verbose
    )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.maximum(lengths, np.finfo("float32").tiny)
    return rows


def as_images(data: Any) -> ImageData:
    """Returns `ImageData`, an array of images or a pair `(images, labels)` as `ImageData`.

    Raises:
        DataError: If it is something else.
    """
    if isinstance(data, tuple | list) and len(data) == 2:
        return ImageData.from_arrays(*data)
    if isinstance(data, np.ndarray):
        return ImageData.from_arrays(data)
    if not isinstance(data, ImageData):
        raise DataError(
            f"Expected ImageData, an array of images or a pair (images, labels), received "
            f"{type(data).__name__}. ImageData.from_paths(folder) lists photos."
        )
    return data


def _several(data: Any) -> ImageData:
    listed = as_images(data)
    if len(listed) < 2:
        raise DataError(
            f"Expected at least 2 images to compare, received {len(listed)}."
        )
    return listed


def _one_image(image: Photo) -> ImageData:
    if not isinstance(image, str | Path):
        return ImageData.from_images([image])
    found = ImageData.from_paths(image)
    if len(found) != 1:
        raise DataError(
            f"Expected one image, but {image} has {count_of(len(found), 'image')}. Ask for one "
            "after the other."
        )
    return found


def _same_file(data: ImageData, index: int, wanted: ImageData) -> bool:
    if data.paths is None or wanted.paths is None:
        return False
    return data.paths[index].absolute() == wanted.paths[0].absolute()


def _names(data: ImageData) -> list[str | None]:
    if data.labels is None:
        return [None] * len(data)
    return [data.class_names[label] for label in data.labels]


def _check_number(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, received {value}.")
