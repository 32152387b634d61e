"""The one policy that turns a photo into RGB pixels.

Training, evaluation and prediction all come through here, so they see the same
picture: EXIF orientation applied, gray repeated, alpha laid on white, 16 bit scaled
down, antialiased bilinear resize. No batch and no model is known here.
"""

import hashlib
import io
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kerasresnet.errors import DataError

Pixels: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Photo: TypeAlias = str | Path | bytes | Image.Image | Pixels

# Part of the key under which features are cached: raise it when the same photo gives
# other pixels than before.
POLICY = 1

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
)
# Pillow's own limit for an error; a larger header is more likely an attack than a
# photo. https://pillow.readthedocs.io/en/stable/reference/limits.html
MAX_PIXELS = 178_956_970

_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L")


def read_image(photo: Photo, size: tuple[int, int] | None = None) -> Pixels:
    """Reads one photo as RGB pixels.

    Args:
        photo: A path, the bytes of a file, a PIL image, or an array of shape
            `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)` in 0..255.
        size: Height and width to resize to (aspect ratio is not kept). Defaults to
            the photo's own.

    Returns:
        A new array of shape `(H, W, 3)`: uint8, or float32 if `photo` is a float array.

    Raises:
        DataError: If the photo cannot be read. The message names it.
    """
    if isinstance(photo, np.ndarray):
        return _resized(_rgb_array(photo), size)
    try:
        if isinstance(photo, Image.Image):
            return _resized_image(_rgb_image(photo), size)
        stream = io.BytesIO(photo) if isinstance(photo, bytes) else Path(photo)
        with Image.open(stream) as image:
            return _resized_image(_rgb_image(image), size)
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise DataError(
            f"{describe(photo)} cannot be read: {_reason(photo, error)}."
        ) from error


def content_of(photo: Path | Pixels) -> bytes | Pixels:
    """Returns what a photo's digest is taken of, and its pixels are decoded from.

    Args:
        photo: A path, whose bytes are read, or an array.

    Raises:
        DataError: If the file cannot be read.
    """
    if isinstance(photo, np.ndarray):
        return photo
    try:
        return photo.read_bytes()
    except OSError as error:
        raise DataError(f"{photo} cannot be read: {_reason(photo, error)}.") from error


def digest(content: bytes | Pixels) -> str:
    """Returns a fingerprint of a photo's content, the same in whatever file it lies."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()[:32]
    found = hashlib.sha256(f"{content.dtype.str} {content.shape}".encode())
    found.update(np.ascontiguousarray(content).data)
    return found.hexdigest()[:32]


def describe(photo: Photo) -> str:
    """Returns how an error message calls the photo."""
    if isinstance(photo, str | Path):
        return str(photo)
    if isinstance(photo, bytes):
        return f"An image of {len(photo):,} bytes"
    if isinstance(photo, Image.Image):
        return str(
            getattr(photo, "filename", "") or f"A PIL image of mode {photo.mode}"
        )
    return f"An array of shape {photo.shape}"


def check_values(low: float, high: float, *, whole_set: bool) -> None:
    """Refuses pixel values that are not RGB 0..255.

    Args:
        low: Smallest value.
        high: Largest value.
        whole_set: Whether many images are spoken of, among which one must be brighter
            than 1. (A single photo may be black.)

    Raises:
        DataError: If values are missing, outside 0..255, or scaled to 0..1.
    """
    remedy = "Pass RGB values in 0..255, without any preprocessing: the model does it."
    if np.isnan(low) or np.isnan(high):
        raise DataError("The images contain NaN. Remove or repair those images first.")
    if low < 0 or high > 255:
        raise DataError(
            f"Pixel values run from {low:g} to {high:g}, expected 0..255. {remedy}"
        )
    if whole_set and 0 < high <= 1:
        raise DataError(
            f"Pixel values run from {low:g} to {high:g}: these images were scaled to 0..1, "
            "where the model would see darkness. Multiply by 255, or leave out the "
            "division by 255."
        )


def _reason(photo: Photo, error: Exception) -> str:
    if isinstance(photo, str | Path):
        path = Path(photo)
        if not path.exists():
            return "there is no such file"
        if path.is_dir():
            return "it is a folder"
        if path.stat().st_size == 0:
            return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    return str(error).rstrip(".") or type(error).__name__


def _rgb_image(image: Image.Image) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f"{image.width} x {image.height} is more than {MAX_PIXELS:,} pixels"
        )
    if image.mode == "F":
        raise ValueError(
            "floating-point images have no fixed range; save it with 8 bits"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BIT:
        # `convert("RGB")` would clip 16-bit values at 255.
        values = np.asarray(image)
        # Pillow's mode "I" holds 8-bit values as well as 16-bit ones.
        wide = image.mode != "I" or values.max(initial=0) > 255
        levels = np.clip(values // 256 if wide else values, 0, 255).astype("uint8")
        return Image.fromarray(levels).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _resized_image(image: Image.Image, size: tuple[int, int] | None) -> Pixels:
    if size is not None and (image.height, image.width) != size:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(image)


def _rgb_array(array: Pixels) -> Pixels:
    channels = array.shape[-1] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise DataError(
            f"An image array has shape {array.shape}, expected (H, W, 3), "
            "or (H, W), (H, W, 1) for gray, (H, W, 4) for RGBA. "
            "Channels come last: np.moveaxis(images, 1, -1) moves them."
        )
    if array.dtype.kind not in "uif":
        raise DataError(
            f"An image array has dtype {array.dtype}, expected numbers in 0..255."
        )
    if array.dtype != np.uint8:
        check_values(float(array.min()), float(array.max()), whole_set=False)
        array = array.astype("float32" if array.dtype.kind == "f" else "uint8")
    if channels == 4:
        alpha = array[..., 3:].astype("float32") / 255.0
        blended = array[..., :3] * alpha + 255.0 * (1.0 - alpha)
        return (
            blended if array.dtype == np.float32 else np.rint(blended).astype("uint8")
        )
    if channels == 1:
        return np.repeat(array.reshape((*array.shape[:2], 1)), 3, axis=-1)
    return array.copy()


def _resized(array: Pixels, size: tuple[int, int] | None) -> Pixels:
    if size is None or array.shape[:2] == size:
        return array
    if array.dtype == np.uint8:
        return _resized_image(Image.fromarray(array), size)
    # Pillow resizes float pixels one channel at a time.
    return np.stack([_resized_plane(array[..., c], size) for c in range(3)], axis=-1)


def _resized_plane(plane: Pixels, size: tuple[int, int]) -> Pixels:
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
