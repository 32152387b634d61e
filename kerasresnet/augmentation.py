"""Reproducible random views of an image.

Which images are augmented, and when, is decided in `pipeline`: training images only,
after the cache.
"""

import operator
from dataclasses import asdict, dataclass
from typing import Any

import tensorflow as tf

# Part of the key under which features are cached: raise it when the same photo and seed
# give another view than before.
POLICY = 1


@dataclass(frozen=True)
class Augmentation:
    """Random views for training: flip, crop, brightness and contrast.

    Every operation is stateless: the same image with the same seed gives the same
    view, however many threads work. `fit` and `make_dataset` take one.

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

    Raises:
        ValueError: If a value is out of its range.

    Example:

    >>> train = kr.ImageData.from_folder("flower_photos")
    >>> views = kr.Augmentation(brightness=0.2)
    >>> dataset = kr.make_dataset(train, training=True, augmentation=views)
    """

    horizontal_flip: bool = True
    smallest_crop: float = 0.7
    brightness: float = 0.1
    contrast: float = 0.1
    views: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.smallest_crop <= 1:
            raise ValueError(
                f"smallest_crop must be above 0 and at most 1, received {self.smallest_crop}."
            )
        for name in ("brightness", "contrast"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(
                    f"{name} must be at least 0 and below 1, received {value}."
                )

        if self.views is not None and not _is_count(self.views):
            raise ValueError(
                f"views must be a whole number of at least 1, or None for new ones in each "
                f"epoch, received {self.views!r}."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What decides how a view looks: everything but their number."""
        settings = {k: v for k, v in asdict(self).items() if k != "views"}
        return {"policy": POLICY, **settings}

    def __call__(self, image: Any, seed: Any) -> Any:
        """Returns one random view.

        Args:
            image: Tensor of shape `(H, W, 3)` in 0..255.
            seed: Integer tensor of shape `(2,)`.

        Returns:
            A float32 tensor of the same shape, in 0..255.
        """
        seeds = tf.random.split(tf.cast(seed, tf.int32), 4)
        view = tf.cast(image, tf.float32)
        if self.smallest_crop < 1:
            view = self._crop(view, seeds[0])
        if self.horizontal_flip:
            view = tf.image.stateless_random_flip_left_right(view, seeds[1])
        if self.brightness:
            view = tf.image.stateless_random_brightness(
                view, 255 * self.brightness, seeds[2]
            )
        if self.contrast:
            low, high = 1 - self.contrast, 1 + self.contrast
            view = tf.image.stateless_random_contrast(view, low, high, seeds[3])
        return tf.clip_by_value(view, 0.0, 255.0)

    def _crop(self, image: Any, seed: Any) -> Any:
        shape = tf.shape(image)
        aspect = image.shape[1] / image.shape[0]
        whole = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            whole,
            seed,
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4 * aspect, 4 / 3 * aspect),
            area_range=(self.smallest_crop, 1.0),
        )
        cropped = tf.slice(image, begin, size)
        resized = tf.image.resize(cropped, shape[:2], antialias=True)
        return tf.ensure_shape(resized, image.shape)


def _is_count(value: Any) -> bool:
    try:
        return value is not True and operator.index(value) >= 1
    except TypeError:
        return False
