"""`extract_features`: what a network computes of images up to a stage."""

import logging
from typing import Any, NamedTuple

import numpy as np

from kerasresnet.backbones import Stage
from kerasresnet.caching import Cache, FeatureRows, check_cache
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.datasets import data_errors, is_dataset
from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, NoRoomError
from kerasresnet.extraction import Extraction, Verbosity
from kerasresnet.images import ImageData
from kerasresnet.inputs import integer_labels
from kerasresnet.pixels import check_batch_size
from kerasresnet.precision import Precision
from kerasresnet.twins import Trunk

_log = logging.getLogger(__name__)


def extract_features(
    model: Classifier,
    data: Any,
    *,
    stage: Stage = "avg_pool",
    batch_size: int = 32,
    precision: Precision = "auto",
    cache: Cache = "auto",
    verbose: Verbosity = "auto",
) -> Pixels:
    """Returns what a network computes of images up to a stage: their features.

    Batch normalisation is folded into the convolutions, which is exact, and the rest is
    compiled. In float32 the features agree with `split_at(model, stage)[0]` to about
    1e-6 of their norm; in bfloat16 to about 0.7 %.

    Args:
        model: A `Classifier`. It is not changed.
        data: `ImageData`; or an array `(N, H, W, 3)` in 0..255, or a pair
            `(images, labels)`; or a `tf.data.Dataset` of batches at the model's size.
        stage: `"conv1"` to `"conv5"`, or `"avg_pool"` for one vector for each image.
        batch_size: Images that are computed at a time.
        precision: `"float32"`, `"bfloat16"`, or `"auto"`: bfloat16 where the device is
            good at it.
        cache: Where features are kept for the next time, as in `fit`.
        verbose: 0 silent, 1 progress bar, 2 one line.

    Returns:
        A float32 array, row i for image i: `(N, 2048)` after `"avg_pool"`,
        `(N, 7, 7, 2048)` after `"conv5"` at 224 px.

    Raises:
        CacheError: If the cache folder cannot be written or the disk is full.
        DataError: If there is no image, or one cannot be read.
        ValueError: If an argument is out of range.

    Example:

    >>> model = kr.build_classifier(5, weights=None, input_shape=(64, 64, 3))
    >>> photos = kr.ImageData.from_folder("flower_photos")
    >>> kr.extract_features(model, photos, verbose=0).shape
    (30, 2048)
    """
    check_classifier(model)
    check_batch_size(batch_size)
    check_cache(cache)
    source = FeatureSource(
        model,
        stage,
        batch_size=batch_size,
        cache=cache,
        precision=precision,
        verbose=verbose,
    )
    return source.of(data if is_dataset(data) else _as_images(data)).table()


class LabelledRows(NamedTuple):
    """Features, and what belongs to them.

    Args:
        rows: Row i belongs to image i.
        labels: Integers of shape `(N,)`, or rows of a `Dataset` that has such.
        weights: A `Dataset`'s weights of the images, if it has some.
        batch_size: Images in a batch; of a `Dataset` its own.
    """

    rows: FeatureRows
    labels: Pixels
    weights: tuple[Pixels, ...]
    batch_size: int


class FeatureSource:
    """Features of checked data, kept if the cache has room for them.

    With `cache="auto"` features beyond the limit of the cache are held for this run alone.

    Args:
        model: A `Classifier`.
        stage: As in `extract_features`.
        batch_size: Images that are computed at a time.
        cache: As in `fit`; False as `"memory"`.
        precision: As in `extract_features`.
        verbose: As in `extract_features`.
    """

    def __init__(
        self,
        model: Classifier,
        stage: Stage,
        *,
        batch_size: int,
        cache: Cache,
        precision: Precision,
        verbose: Verbosity,
    ) -> None:
        self._cache = cache
        self._batch_size = batch_size
        self._extraction = Extraction(
            model,
            Trunk(model, stage, precision),
            batch_size=batch_size,
            cache=cache,
            verbose=verbose,
        )

    def of(self, data: Any) -> FeatureRows:
        """Returns the features of `ImageData` or a `tf.data.Dataset`."""
        return self._found(data, labelled=False)[0]

    def labelled(self, data: Any) -> LabelledRows:
        """Returns the features of labelled `ImageData` or a `tf.data.Dataset`."""
        rows, (labels, *weights), size = self._found(data, labelled=True)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = integer_labels(labels)
        return LabelledRows(rows, labels, tuple(weights), size)

    def _found(
        self, data: Any, *, labelled: bool
    ) -> tuple[FeatureRows, tuple[Pixels, ...], int]:
        try:
            return self._extracted(data, labelled)
        except NoRoomError as error:
            if self._cache != "auto":
                raise
            _log.warning("%s They are not kept.", error)
            self._extraction = self._extraction.in_memory()
            return self._extracted(data, labelled)

    def _extracted(
        self, data: Any, labelled: bool
    ) -> tuple[FeatureRows, tuple[Pixels, ...], int]:
        if not is_dataset(data):
            columns = (np.asarray(data.labels),) if labelled else ()
            return self._extraction.of_images(data), columns, self._batch_size
        with data_errors():
            return self._extraction.of_dataset(data, labelled=labelled)


def _as_images(data: Any) -> ImageData:
    if isinstance(data, tuple | list) and len(data) == 2:
        data = data[0]
    if isinstance(data, np.ndarray):
        data = ImageData.from_arrays(data)
    if not isinstance(data, ImageData):
        raise DataError(
            f"Expected ImageData, an array of images or a tf.data.Dataset, received "
            f"{type(data).__name__}. ImageData.from_paths(folder) lists photos."
        )
    return data
