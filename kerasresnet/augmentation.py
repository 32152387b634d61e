"""Reproducible random views of images, and the presets of them.

Amounts are drawn here; what they do to a picture is in `alterations`, to a batch in
`mixing`. Which images are augmented, and when, is decided in `pipeline`: training images
only, after the cache.
"""

import operator
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np
import tensorflow as tf
from PIL import Image

from kerasresnet.alterations import (
    OPERATIONS,
    Picture,
    crop,
    erase,
    mirror,
    recolour,
    rotate,
    signed,
)
from kerasresnet.backends import leave_gpus
from kerasresnet.decoding import Pixels
from kerasresnet.errors import unknown
from kerasresnet.mixing import mix_batch

Preset: TypeAlias = Literal["none", "light", "standard", "strong"]

# Part of the key under which features are cached: raise it when the same photo and seed
# give another view than before.
POLICY = 2

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "none": {
        "horizontal_flip": False,
        "smallest_crop": 1.0,
        "brightness": 0.0,
        "contrast": 0.0,
    },
    "light": {},
    "standard": {
        "smallest_crop": 0.4,
        "rotation": 10.0,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.02,
    },
    # Brightness and contrast are among RandAugment's operations, and so is rotation.
    "strong": {
        "smallest_crop": 0.25,
        "brightness": 0.0,
        "contrast": 0.0,
        "rand_augment": 2,
        "erasing": 0.25,
    },
}

# Largest value of each number, and whether it is itself allowed. 30 is the largest
# magnitude in RandAugment's paper; a larger parameter of mixing is always half and half.
_LIMITS = {
    "brightness": (1, False),
    "contrast": (1, False),
    "saturation": (1, False),
    "hue": (0.5, True),
    "rotation": (180, True),
    "magnitude": (30, True),
    "erasing": (1, True),
    "mixup": (100, True),
    "cutmix": (100, True),
}
_WORKERS = os.cpu_count() or 1
_pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="kerasresnet-views")


@dataclass(frozen=True)
class Augmentation:
    """Random views for training.

    Every view is reproducible: the same image with the same seed gives the same pixels,
    however many threads work. `fit`, `fine_tune` and `make_dataset` take an
    `Augmentation`, or the name of a preset:

    - `"none"`: the images as they are.
    - `"light"`: what `Augmentation()` is, mirrored, cropped to at least 0.7 of the area,
      brightness and contrast 0.1.
    - `"standard"`: mirrored, cropped to at least 0.4, turned by up to 10 degrees,
      brightness, contrast and saturation 0.2, hue 0.02.
    - `"strong"`: mirrored, cropped to at least 0.25, two operations of RandAugment at
      magnitude 9, and one view in four with a box erased.

    No preset mixes images. A view is mirrored, cropped, turned, recoloured, changed by
    RandAugment, erased, and mixed, in that order. What a turn leaves empty and what is
    erased has the mean colour of ImageNet. Float images are rounded to whole numbers.

    Args:
        horizontal_flip: Whether half of the views are mirrored left to right.
        smallest_crop: Smallest share of the picture's area that a random crop keeps,
            in (0, 1]. The crop's aspect ratio differs from the picture's by at
            most 3:4, and it is resized back. 1 turns cropping off.
        brightness: Largest shift, as a share of the full range 0..255.
        contrast: Largest relative change of contrast.
        views: Number of views of each photo. In training from a frozen backbone their
            features are computed once, and each epoch draws one view of each photo.
            Defaults to a new view in each epoch, for which the frozen part runs again.
        rotation: Largest angle, in degrees, in either direction; after the crop.
        saturation: Largest relative change of saturation.
        hue: Largest turn of the colours, as a share of the full circle, at most 0.5.
        rand_augment: Number of RandAugment's 14 operations that each view goes through,
            drawn for each anew. https://arxiv.org/abs/1909.13719
        magnitude: Their strength, in 0..30.
        erasing: Share of the views in which a box is erased.
            https://arxiv.org/abs/1708.04896
        mixup: Parameter of the Beta distribution by which each view is blended with
            another of its batch; 0.2 is usual, 0 is off. Labels become float rows
            `(batch, classes)` of shares. https://arxiv.org/abs/1710.09412
        cutmix: The same for a box of one view that another's replaces; 1 is usual.
            With both, each is drawn half of the time.
            https://arxiv.org/abs/1905.04899

    Raises:
        ValueError: If a value is out of its range, or views that are computed once are
            to be mixed.

    Example:

    >>> train = kr.ImageData.from_folder("flower_photos")
    >>> views = kr.Augmentation(brightness=0.2, rotation=15)
    >>> dataset = kr.make_dataset(train, training=True, augmentation=views)
    >>> mixed = kr.Augmentation.preset("standard", cutmix=1.0)
    >>> images, labels = next(
    ...     iter(kr.make_dataset(train, training=True, augmentation=mixed))
    ... )
    >>> labels.shape, labels.dtype.name
    (TensorShape([30, 5]), 'float32')
    """

    horizontal_flip: bool = True
    smallest_crop: float = 0.7
    brightness: float = 0.1
    contrast: float = 0.1
    views: int | None = None
    rotation: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    rand_augment: int = 0
    magnitude: float = 9.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.horizontal_flip, bool | np.bool_):
            raise ValueError(
                f"horizontal_flip must be True or False, received {self.horizontal_flip!r}."
            )
        if not _is_number(self.smallest_crop) or not 0 < self.smallest_crop <= 1:
            raise ValueError(
                f"smallest_crop must be above 0 and at most 1, received {self.smallest_crop!r}."
            )
        for name, (most, included) in _LIMITS.items():
            _check_limit(name, getattr(self, name), most, included=included)
        if not _is_count(self.rand_augment, least=0):
            raise ValueError(
                "rand_augment must be a whole number of operations, or 0 for none, "
                f"received {self.rand_augment!r}."
            )
        if self.views is not None and not _is_count(self.views):
            raise ValueError(
                f"views must be a whole number of at least 1, or None for new ones in each "
                f"epoch, received {self.views!r}."
            )
        if self.views is not None and self.mixes:
            raise ValueError(
                f"views={self.views} has features that are computed once, but a mixture "
                "needs new ones in each epoch: expected mixup=0 and cutmix=0, received "
                f"mixup={self.mixup} and cutmix={self.cutmix}. Leave out views, or mixing."
            )

    @classmethod
    def preset(cls, name: Preset, **changes: Any) -> "Augmentation":
        """Returns the augmentation that a name stands for.

        Args:
            name: `"none"`, `"light"`, `"standard"` or `"strong"`.
            **changes: Arguments of `Augmentation` that differ from the preset's.

        Raises:
            ValueError: If there is no such preset, or a value is out of its range.

        Example:

        >>> kr.Augmentation.preset("strong", views=4).erasing
        0.25
        """
        if name not in tuple(PRESETS):
            raise unknown("augmentation", name, PRESETS)
        return cls(**{**PRESETS[name], **changes})

    @property
    def settings(self) -> dict[str, Any]:
        """What decides how a view looks: everything but their number."""
        settings = {k: float(v) for k, v in asdict(self).items() if k != "views"}
        return {"policy": POLICY, **settings}

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed, and their labels with them."""
        return bool(self.mixup or self.cutmix)

    @property
    def varies(self) -> bool:
        """Whether a view may differ from its image."""
        return bool(
            self.horizontal_flip
            or self.smallest_crop < 1
            or self.rotation
            or self._recolours
            or self.rand_augment
            or self.erasing
        )

    @property
    def _recolours(self) -> bool:
        return bool(self.brightness or self.contrast or self.saturation or self.hue)

    def __call__(self, image: Any, seed: Any) -> Any:
        """Returns one random view.

        Images are mixed in batches only, by `make_dataset` and `fit`.

        Args:
            image: Tensor of shape `(H, W, 3)` in 0..255.
            seed: Integer tensor of shape `(2,)`.

        Returns:
            A float32 tensor of the same shape, in 0..255.
        """
        leave_gpus()
        image = tf.convert_to_tensor(image)

        def make(image: Pixels, seed: Pixels) -> Pixels:
            return make_views(self, image[None], seed[None])[0]

        view = tf.numpy_function(make, [image, seed], tf.float32)
        return tf.ensure_shape(view, image.shape)


def as_augmentation(augmentation: Any) -> Augmentation | None:
    """Returns what an `augmentation` argument stands for; None if nothing is changed.

    Args:
        augmentation: An `Augmentation`, the name of a preset, or None.

    Raises:
        ValueError: If it is something else.
    """
    if isinstance(augmentation, str):
        augmentation = Augmentation.preset(augmentation)  # type: ignore[arg-type]
    if not isinstance(augmentation, Augmentation | None):
        raise ValueError(
            "augmentation must be an Augmentation or the name of a preset "
            f"({', '.join(map(repr, PRESETS))}), received {augmentation!r}."
        )
    if augmentation is None or not (augmentation.varies or augmentation.mixes):
        return None
    return augmentation


def mixes(augmentation: Augmentation | None) -> bool:
    """Returns whether labels come as rows, because images are mixed."""
    return augmentation is not None and augmentation.mixes


def make_views(augmentation: Augmentation, images: Pixels, seeds: Pixels) -> Pixels:
    """Returns a random view of each image, made in threads.

    Args:
        augmentation: What is varied.
        images: Array `(N, H, W, 3)` in 0..255.
        seeds: Integers `(N, 2)`; each decides the view of its image, alone.

    Returns:
        A new float32 array of the same shape, in 0..255.
    """
    views: Pixels = np.empty(images.shape, "float32")
    if not augmentation.varies:
        views[:] = images
        return views
    if images.dtype != np.uint8:
        images = np.rint(images).clip(0, 255).astype("uint8")

    def make(part: Pixels) -> None:
        for i in part.tolist():
            rng = np.random.default_rng([int(number) % 2**64 for number in seeds[i]])
            _draw(augmentation, images[i], rng, views[i])

    parts = np.array_split(np.arange(len(images)), min(len(images), _WORKERS))
    list(_pool.map(make, parts))
    return views


def make_mixture(
    augmentation: Augmentation, images: Pixels, labels: Pixels, seeds: Pixels
) -> tuple[Pixels, Pixels]:
    """Returns random views of a batch, mixed with each other, and their labels.

    Args:
        augmentation: What is varied, and how it is mixed.
        images: Array `(N, H, W, 3)` in 0..255.
        labels: float32 rows `(N, classes)`.
        seeds: Integers `(N, 2)`.

    Returns:
        A tuple `(images, labels)` of float32 arrays.
    """
    return mix_batch(
        make_views(augmentation, images, seeds),
        labels,
        seeds,
        mixup=augmentation.mixup,
        cutmix=augmentation.cutmix,
    )


def _draw(
    how: Augmentation, image: Pixels, rng: np.random.Generator, view: Pixels
) -> None:
    """Fills `view` with a random view of an 8-bit image."""
    # A row of draws for each kind: what one is set to does not change the others.
    flip, box, angle, colour, hole = rng.random((5, 5)).tolist()
    picture = Image.fromarray(image)
    if how.horizontal_flip and flip[0] < 0.5:
        picture = mirror(picture)
    if how.smallest_crop < 1:
        picture = crop(picture, how.smallest_crop, box)
    if how.rotation:
        picture = rotate(picture, how.rotation * signed(angle[0]))
    if how._recolours:
        shift, contrast, saturation, hue, _ = map(signed, colour)
        picture = recolour(
            picture,
            brightness=255 * how.brightness * shift,
            contrast=1 + how.contrast * contrast,
            saturation=1 + how.saturation * saturation,
            hue=how.hue * hue,
        )
    view[:] = _rand_augmented(how, picture, rng)
    if hole[0] < how.erasing:
        erase(view, hole[1:])


def _rand_augmented(
    how: Augmentation, picture: Picture, rng: np.random.Generator
) -> Picture:
    operations = tuple(OPERATIONS.values())
    for kind, sign in rng.random((how.rand_augment, 2)).tolist():
        strength = how.magnitude / 30 if sign < 0.5 else -how.magnitude / 30
        picture = operations[int(kind * len(operations))](picture, strength)
    return picture


def _check_limit(name: str, value: Any, most: float, *, included: bool) -> None:
    within = _is_number(value) and 0 <= value <= most and (included or value != most)
    if not within:
        bound = "at most" if included else "below"
        raise ValueError(
            f"{name} must be at least 0 and {bound} {most}, received {value!r}."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_count(value: Any, least: int = 1) -> bool:
    try:
        return not isinstance(value, bool) and operator.index(value) >= least
    except TypeError:
        return False
