"""Small pictures that a page carries within itself."""

import base64
import io

import numpy as np
from PIL import Image

from kerasresnet.decoding import Photo, Pixels, is_on_its_side, opened, read_image

_QUALITY = 60


def thumbnail(photo: Photo, side: int) -> Pixels:
    """Reads a photo so that its longer side has as many pixels, its shape kept.

    Args:
        photo: As in `read_image`.
        side: In pixels.

    Returns:
        An array of shape `(H, W, 3)`, uint8.

    Raises:
        DataError: If the photo cannot be read.
    """
    pixels = read_image(photo, _fitting(photo, side))
    return np.rint(pixels).clip(0, 255).astype("uint8")


def embedded(pixels: Pixels) -> str:
    """Returns a picture as an address that holds all of it.

    Args:
        pixels: Of shape `(H, W, 3)`, uint8.
    """
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(held.getvalue()).decode("ascii")


def _fitting(photo: Photo, side: int) -> tuple[int, int]:
    """Height and width of the small picture."""
    height, width = _size(photo)
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _size(photo: Photo) -> tuple[int, int]:
    """Height and width of the photo as it is seen."""
    if isinstance(photo, np.ndarray):
        return photo.shape[:2]
    if isinstance(photo, Image.Image):
        return _upright(photo)
    try:
        with opened(photo) as image:
            return _upright(image)
    except Exception:  # a decoder may raise anything on damaged bytes
        return 1, 1  # `read_image` says what is wrong with it


def _upright(image: Image.Image) -> tuple[int, int]:
    size = image.height, image.width
    return size[::-1] if is_on_its_side(image) else size
