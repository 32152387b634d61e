"""`extract_features`: what a network computes of images up to a stage."""

import logging
from typing import Any

import numpy as np

from kerasresnet.backbones import Stage
from kerasresnet.caching import Cache, FeatureRows, check_cache
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.datasets import data_errors, is_dataset
from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, NoRoomError
from kerasresnet.extraction import Extraction, Verbosity
from kerasresnet.images import ImageData
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
    trunk = Trunk(model, stage, precision)
    extraction = Extraction(
        model, trunk, batch_size=batch_size, cache=cache, verbose=verbose
    )
    images = data if is_dataset(data) else _as_images(data)
    try:
        return _rows(extraction, images).table()
    except NoRoomError as error:
        if cache != "auto":
            raise
        _log.warning("%s They are not kept.", error)
        return _rows(extraction.in_memory(), images).table()


def _rows(extraction: Extraction, data: Any) -> FeatureRows:
    if not is_dataset(data):
        return extraction.of_images(data)
    with data_errors():
        rows, _, _ = extraction.of_dataset(data, labelled=False)
    return rows


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
