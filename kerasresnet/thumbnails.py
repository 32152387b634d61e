"""Small pictures that a page carries within itself."""

import base64
import io

import numpy as np
from PIL import Image

from kerasresnet.decoding import Photo, Pixels, opened, read_image

_ORIENTATION = 0x0112
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
    """Height and width."""
    if isinstance(photo, np.ndarray):
        height, width = photo.shape[:2]
    elif isinstance(photo, Image.Image):
        height, width = photo.height, photo.width
    else:
        try:
            with opened(photo) as image:
                height, width = image.height, image.width
                if image.getexif().get(_ORIENTATION, 1) >= 5:  # on its side
                    height, width = width, height
        except Exception:
            return side, side  # `read_image` says what is wrong with it
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
