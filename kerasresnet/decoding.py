"""The one policy that turns a photo into RGB pixels.

Training, evaluation and prediction all come through here, so they see the same
picture: EXIF orientation applied, gray repeated, alpha laid on white, 16 bit scaled
down, antialiased bilinear resize. What a file is, its first bytes tell, not its name.
No batch and no model is known here.
"""

import contextlib
import hashlib
import io
import math
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from kerasresnet.errors import DataError

Pixels: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Box: TypeAlias = tuple[int, int, float, float]
Photo: TypeAlias = str | Path | bytes | Image.Image | Pixels

# Part of the key under which features are cached: raise it when the same photo gives
# other pixels than before.
POLICY = 3

# Pillow's names of the formats that are read, and how such files are called. Others that
# Pillow knows are vector graphics, documents and the like, some of which it runs programs
# for. MPO is what some cameras make of two JPEGs.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# The first bytes of these formats; of some with others between.
_SIGNATURES = (
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"GIF87a"),
    (0, b"GIF89a"),
    (0, b"BM"),
    (8, b"WEBP"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (4, b"ftypavi"),
)

# Pillow's own limit for an error; a larger header is more likely an attack than a
# photo. https://pillow.readthedocs.io/en/stable/reference/limits.html
MAX_PIXELS = 178_956_970

# A JPEG is decoded at a half, a quarter or an eighth while that leaves at least so many
# times the pixels that are wanted on each side. On real photos the result is then 0.4 to
# 0.7 levels from the one of all pixels on average; at 1.25 times it is 1.
_SPARE = 1.5
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = tuple(_TURNS[number] for number in (5, 6, 7, 8))
_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L")


Problem: TypeAlias = Literal[
    "missing", "empty", "not an image", "truncated", "too large", "damaged"
]


class UnreadableError(DataError):
    """A photo that cannot be read.

    Args:
        photo: What was to be read.
        problem: What is wrong, in a word that photos can be counted by.
        reason: The same in a sentence without the photo's name.
    """

    def __init__(self, photo: Photo, problem: Problem, reason: str) -> None:
        super().__init__(f"{describe(photo)} cannot be read: {reason}.")
        self.problem = problem
        self.reason = reason


def read_image(
    photo: Photo, size: tuple[int, int] | None = None, *, out: Pixels | None = None
) -> Pixels:
    """Reads one photo as RGB pixels.

    Args:
        photo: A path, the bytes of a file, a PIL image, or an array of shape
            `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)` in 0..255.
        size: Height and width to resize to (aspect ratio is not kept). Defaults to
            the photo's own.
        out: An array of the result's shape that the pixels are written into. Defaults
            to a new one.

    Returns:
        An array of shape `(H, W, 3)`: uint8, or float32 if `photo` is a float array;
        `out` if that was given.

    Raises:
        DataError: If the photo cannot be read. The message names it.
    """
    pixels = _pixels(photo, size)
    if out is None:
        return np.array(pixels)
    out[...] = pixels
    return out


@contextlib.contextmanager
def opened(photo: str | Path | bytes) -> Iterator[Image.Image]:
    """Opens a file or its bytes as a PIL image, of which no pixel is decoded yet.

    Raises:
        ValueError: If it has too many pixels. Pillow raises its own errors.
    """
    content = photo if isinstance(photo, bytes) else _content(Path(photo))
    with Image.open(io.BytesIO(content), formats=_readable_formats()) as image:
        # Decode in one go: each piece of 64 kB asks for Python's lock again.
        image.decodermaxblock = max(len(content), 1)
        if image.width * image.height > MAX_PIXELS:
            raise _TooLargeError(
                f"{image.width} x {image.height} is more than {MAX_PIXELS:,} pixels"
            )
        yield image


def has_signature(path: str | Path) -> bool:
    """Whether a file begins as one of the formats that are read."""
    try:
        with _file(Path(path)) as file:
            head = file.read(16)
    except OSError:
        return False
    return any(head.startswith(mark, place) for place, mark in _SIGNATURES)


def is_on_its_side(image: Image.Image) -> bool:
    """Whether a photo is stored with its rows as columns, and turned when it is read."""
    return _TURNS.get(_orientation(image)) in _SWAPPING


def content_of(photo: Path | bytes | Pixels) -> bytes | Pixels:
    """Returns what a photo's digest is taken of, and its pixels are decoded from.

    Args:
        photo: A path, whose bytes are read, the bytes themselves, or an array.

    Raises:
        DataError: If the file cannot be read.
    """
    if not isinstance(photo, Path):
        return photo
    with _errors_of(photo):
        return _content(photo)


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


class _TooLargeError(ValueError):
    pass


@contextlib.contextmanager
def _errors_of(photo: Photo) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise UnreadableError(photo, *_what_is_wrong(photo, error)) from error


def _what_is_wrong(photo: Photo, error: Exception) -> tuple[Problem, str]:
    found = _of_file(Path(photo)) if isinstance(photo, str | Path) else None
    if found is not None:
        return found
    if photo == b"":
        return "empty", "the file is empty"
    if isinstance(error, PermissionError):
        return "missing", "you have no permission to read it"
    if isinstance(error, UnidentifiedImageError):
        return "not an image", "it is not an image in a known format"
    reason = str(error).rstrip(".") or type(error).__name__
    if isinstance(error, _TooLargeError | Image.DecompressionBombError):
        return "too large", reason
    if "truncated" in reason.lower() or isinstance(error, EOFError):
        return "truncated", reason
    return "damaged", reason


def _of_file(path: Path) -> tuple[Problem, str] | None:
    """What is wrong with a file that needs no decoder to be told."""
    if path.is_dir():
        return "not an image", "it is a folder"
    if path.is_symlink() and not path.exists():
        return "missing", "it is a broken link"
    if not path.exists():
        return "missing", "there is no such file"
    if path.is_file() and not path.stat().st_size:
        return "empty", "the file is empty"
    return None


def _file(path: Path) -> IO[bytes]:
    # To open a pipe waits until somebody writes into it.
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise OSError("it is not a regular file")
    return path.open("rb")


def _content(path: Path) -> bytes:
    with _file(path) as file:
        return file.read()


@cache
def _readable_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _pixels(photo: Photo, size: tuple[int, int] | None) -> Pixels:
    """As `read_image`, but not always an array that may be written into."""
    if isinstance(photo, np.ndarray):
        return _resized(_rgb_array(photo), size)
    with _errors_of(photo):
        if isinstance(photo, Image.Image):
            return np.asarray(_upright_image(photo, size))
        with opened(photo) as image:
            return np.asarray(_upright_image(image, size, reduce=True))


def _upright_image(
    image: Image.Image, size: tuple[int, int] | None, *, reduce: bool = False
) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    if size is not None and turn in _SWAPPING:
        size = size[::-1]
    box = _reduce(image, size) if reduce and size is not None else None
    # Turned last: it is smaller by then, and the box is of the photo as it is stored.
    image = _resized_image(_rgb_image(image), size, box)
    return image if turn is None else image.transpose(turn)


def _reduce(image: Image.Image, size: tuple[int, int]) -> Box | None:
    """Has a large JPEG decoded at reduced scale.

    Returns:
        Where the photo lies in what will be decoded, whose last row and column may reach
        beyond the photo's edge.
    """
    height, width = size
    found = image.draft(None, (math.ceil(_SPARE * width), math.ceil(_SPARE * height)))
    return None if found is None else found[1]


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as damaged as a file may be: then nothing is known of it
        return 1
    return found if found in _TURNS else 1


def _rgb_image(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError(
            "floating-point images have no fixed range; save it with 8 bits"
        )
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
    return image if image.mode == "RGB" else image.convert("RGB")


def _resized_image(
    image: Image.Image, size: tuple[int, int] | None, box: Box | None = None
) -> Image.Image:
    if size is None or (image.height, image.width) == size:
        return image
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box)


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
    return array


def _resized(array: Pixels, size: tuple[int, int] | None) -> Pixels:
    if size is None or array.shape[:2] == size:
        return array
    if array.dtype == np.uint8:
        return np.asarray(_resized_image(Image.fromarray(array), size))
    # Pillow resizes float pixels one channel at a time.
    return np.stack([_resized_plane(array[..., c], size) for c in range(3)], axis=-1)


def _resized_plane(plane: Pixels, size: tuple[int, int]) -> Pixels:
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
