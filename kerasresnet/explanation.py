"""Where in an image a model sees its evidence: Grad-CAM, on logits, at any stage.

Arrays only. `galleries` draws them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from matplotlib import colormaps
from PIL import Image

from kerasresnet.backbones import STAGES, TrainableStage, stage_end
from kerasresnet.backends import gradient, without_gradients
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, count_of, listing, unknown
from kerasresnet.pixels import check_batch_size, image_batches
from kerasresnet.prediction import Images, gather

# As light grows with it, inferno is read without colour vision, too.
HEAT = colormaps["inferno"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where in an image a model sees evidence for a class.

    `np.asarray(heat_map)` is its `values`.

    Args:
        source: Where the image is from: a path, or a name such as `"image 3"`.
        label: Name of the class that is explained.
        probability: The model's probability for that class, 0..1.
        stage: The stage whose features the map is made of.
        values: The map: float32 of shape `(H, W)`, the size of the model's images, 0 for
            no evidence and 1 for the most in this image. All zeros if there is none.
        image: The image as the model saw it: uint8 of shape `(H, W, 3)`, RGB.
    """

    source: str
    label: str
    probability: float
    stage: str
    values: Pixels = field(repr=False)
    image: Pixels = field(repr=False)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> Pixels:
        return np.array(self.values, dtype=dtype, copy=copy)  # type: ignore[call-overload]


def grad_cam(
    model: Classifier,
    images: Images,
    label: str | Sequence[str] | None = None,
    *,
    stage: TrainableStage = "conv5",
    batch_size: int = 16,
) -> HeatMap | list[HeatMap]:
    """Shows where in images a model sees evidence for a class.

    Grad-CAM of Selvaraju et al. (2017, https://arxiv.org/abs/1610.02391): the channels of
    a stage's features, summed with weights that say how much each raises the logit of the
    class, without what is negative. On logits, because the gradients of a probability
    near 1 are 0. A map says what the logit of its own class rests on; values of two images
    are not on one scale.

    Args:
        model: A `Classifier`. It is not changed.
        images: As in `predict`.
        label: Name of the class to explain, or a list with one for each image. Defaults
            to the most probable class of each.
        stage: `"conv1"` to `"conv5"`. `"conv5"` is coarse (7x7 at 224 px) and tells the
            classes apart; earlier stages are finer and tell them apart less.
        batch_size: Images that are computed at a time.

    Returns:
        A `HeatMap` for one image (a file, bytes, a PIL image, an array `(H, W, 3)`); for
        anything else, such as a folder, a list or `ImageData`, a list in their order.

    Raises:
        DataError: If an image cannot be read, or the model gives NaN.
        ValueError: If a class or the stage is not the model's, or there is not one label
            for each image.

    Example:

    >>> model = kr.build_classifier(
    ...     class_names=["cat", "dog"], weights=None, input_shape=(64, 64, 3)
    ... )
    >>> heat_map = kr.grad_cam(model, np.zeros((300, 200, 3), "uint8") + 90, "dog")
    >>> heat_map.label, heat_map.values.shape, heat_map.image.shape
    ('dog', (64, 64), (64, 64, 3))
    """
    check_classifier(model)
    check_batch_size(batch_size)
    halves = _Halves(model, stage)
    data, sources = gather(images, model.image_size)
    chosen = _numbers(label, len(data), model.class_names)
    maps: list[HeatMap] = []
    for batch in image_batches(
        data, image_size=model.image_size, batch_size=batch_size
    ):
        part = slice(len(maps), len(maps) + len(batch))
        wanted = None if chosen is None else chosen[part]
        numbers, shares, values = _maps(halves, batch, wanted)
        pixels = np.rint(batch).clip(0, 255).astype("uint8")
        for source, number, row, heat, image in zip(
            sources[part], numbers, shares, values, pixels, strict=True
        ):
            name = model.class_names[number]
            maps.append(HeatMap(source, name, float(row[number]), stage, heat, image))
    _say_which_are_empty(maps)
    return maps[0] if _is_one(images) else maps


def overlaid(heat_map: HeatMap) -> Pixels:
    """Returns the image in gray under its heat map, `(H, W, 3)` uint8."""
    values = heat_map.values[..., None]
    # Luma of ITU-R BT.601, so that the colours that are left are those of the map.
    gray = heat_map.image @ np.array([[0.299], [0.587], [0.114]])
    # Where there is no evidence the photo is seen, where there is most still its outline.
    opacity = 0.7 * values
    mixed = (1 - opacity) * gray + opacity * 255 * HEAT(heat_map.values)[..., :3]
    return np.rint(mixed).astype("uint8")


class _Halves:
    """A model cut at a stage: images to features, features to logits."""

    def __init__(self, model: Classifier, stage: str) -> None:
        if stage == "avg_pool":
            raise ValueError(
                "Features of 'avg_pool' have no height and width to make a map of. "
                f"Expected one of: {listing(map(repr, STAGES[:-1]))}."
            )
        end = stage_end(model, stage).output
        head = model.get_layer("predictions")
        self._kernel, self._bias = head.kernel, head.bias
        self.trunk = keras.Model(model.input, end)
        self._between = keras.Model(end, head.input)

    def logits(self, features: Any) -> Any:
        """What the softmax is given, of shape `(N, classes)`."""
        read = self._between(features, training=False)
        return ops.matmul(ops.cast(read, "float32"), self._kernel) + self._bias


def _maps(
    halves: _Halves, images: Pixels, chosen: Pixels | None
) -> tuple[Pixels, Pixels, Pixels]:
    """Class numbers `(N,)`, probabilities `(N, classes)` and maps `(N, H, W)`."""

    def explained(features: Any) -> tuple[Any, tuple[Any, Any]]:
        logits = halves.logits(features)
        numbers = ops.argmax(logits, axis=-1) if chosen is None else chosen
        # Each logit depends on its own image alone, so the gradient of the sum holds all.
        total = ops.sum(ops.take_along_axis(logits, numbers[:, None], axis=-1))
        return total, (logits, numbers)

    with without_gradients():
        features = halves.trunk(images, training=False)
    slopes, (logits, numbers) = gradient(explained, features)
    gradients = ops.cast(slopes, "float32")
    weights = ops.mean(gradients, axis=(1, 2), keepdims=True)
    evidence = ops.sum(weights * ops.cast(features, "float32"), axis=-1, keepdims=True)
    # A stage may be larger than the image if the model upsamples it.
    size = images.shape[1:3]
    enlarged = ops.image.resize(ops.relu(evidence), size, antialias=True)
    found = ops.convert_to_numpy(enlarged)[..., 0]
    shares = ops.convert_to_numpy(ops.softmax(logits))
    if not (np.isfinite(found).all() and np.isfinite(shares).all()):
        raise DataError(
            "The model gave NaN or infinity: its weights are damaged, or training diverged. "
            "Train again with a lower learning rate."
        )
    most = found.max(axis=(1, 2), keepdims=True)
    values = np.divide(found, most, out=np.zeros_like(found), where=most > 0)
    return ops.convert_to_numpy(numbers), shares, values


def _numbers(
    label: str | Sequence[str] | None, count: int, names: Sequence[str]
) -> Pixels | None:
    """The number of the class for each image, or None for the most probable ones."""
    if label is None:
        return None
    wanted = [label] * count if isinstance(label, str | int) else list(label)
    if len(wanted) != count:
        raise ValueError(
            f"Expected one label, or one for each of {count_of(count, 'image')}, received "
            f"{len(wanted):,}."
        )
    for name in wanted:
        if name not in names:
            raise unknown("class", name, names)
    return np.array([names.index(name) for name in wanted])


def _say_which_are_empty(maps: Sequence[HeatMap]) -> None:
    empty = [one.source for one in maps if not one.values.any()]
    if empty:
        _log.warning(
            "%d of %d maps are all zeros: nothing at %s speaks for the class in %s.",
            len(empty),
            len(maps),
            maps[0].stage,
            listing(empty, 3),
        )


def _is_one(images: Images) -> bool:
    if isinstance(images, str | Path):
        return not Path(images).is_dir()
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    return isinstance(images, bytes | Image.Image)
