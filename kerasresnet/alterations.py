"""What random views are made of: changes of one picture, by amounts that are given.

Pictures are Pillow's, of 8 bits: Pillow works outside Python's lock, so threads help.
Nothing is random here; the amounts are drawn in `augmentation`.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from kerasresnet.decoding import Pixels

Picture: TypeAlias = Image.Image

# What stands where a picture was turned or pushed away, or erased: the mean of ImageNet,
# which is about 0 behind the network's preprocessing.
FILL = (124, 117, 104)

_BILINEAR = Image.Resampling.BILINEAR
_CROP_ASPECT = 3 / 4
# What an erased box covers, and its height by its width: section 3.2 of
# https://arxiv.org/abs/1708.04896, with a third for the largest, as in timm.
_ERASED = (0.02, 1 / 3)
_ERASED_ASPECT = 0.3
# RGB to YIQ (NTSC, 1953): luma, and two axes of colour around which hue turns.
_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
)
_RGB = np.linalg.inv(_YIQ)


def crop(picture: Picture, smallest: float, drawn: Sequence[float]) -> Picture:
    """Cuts a box out, and resizes it to the picture's size, antialiased.

    Args:
        picture: The picture.
        smallest: Smallest share of the area that the box keeps.
        drawn: Numbers in [0, 1) for its area, its aspect and its place across and down.
    """
    width, height = picture.size
    area = 1 - (1 - smallest) * drawn[0]
    # An aspect beyond the area itself would make a side longer than the picture's.
    aspect = max(_CROP_ASPECT, area) ** signed(drawn[1])
    columns = min(max(math.sqrt(area * aspect) * width, 1), width)
    rows = min(max(math.sqrt(area / aspect) * height, 1), height)
    left, top = drawn[2] * (width - columns), drawn[3] * (height - rows)
    box = (left, top, min(left + columns, width), min(top + rows, height))
    return picture.resize(picture.size, _BILINEAR, box=box)


def mirror(picture: Picture) -> Picture:
    """Turns left into right."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def rotate(picture: Picture, degrees: float) -> Picture:
    """Turns a picture around its middle, counter-clockwise."""
    return picture.rotate(degrees, _BILINEAR, fillcolor=FILL)


def shear(picture: Picture, across: float, down: float) -> Picture:
    """Slants a picture around its middle.

    Args:
        picture: The picture.
        across: By how many pixels each row is pushed aside against the one above it.
        down: The same of columns.
    """
    x, y = picture.width / 2, picture.height / 2
    return _affine(picture, (1, across, -across * y, down, 1, -down * x))


def shift(picture: Picture, across: float, down: float) -> Picture:
    """Pushes a picture aside by shares of its width and height."""
    columns, rows = round(across * picture.width), round(down * picture.height)
    return _affine(picture, (1, 0, columns, 0, 1, rows))


def recolour(
    picture: Picture,
    *,
    brightness: float = 0.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
) -> Picture:
    """Changes all colours at once, by one affine map of RGB; rounds and clips once.

    Args:
        picture: The picture.
        brightness: What is added to each value.
        contrast: What the distance of each value from its channel's mean, a whole number,
            is multiplied by.
        saturation: What the distance of each pixel from its gray is multiplied by.
        hue: Share of a full turn by which colours are turned around gray, in YIQ.
    """
    means = [0.0] * 3
    if contrast != 1:
        mean = picture.resize((1, 1), Image.Resampling.BOX)
        means = np.asarray(mean, "float64").ravel().tolist()
    added = [mean * (1 - contrast) + brightness for mean in means]
    if saturation == 1 and not hue:
        # What most views are: NumPy would take longer for it than Pillow for the picture.
        red, green, blue = added
        rows = (contrast, 0, 0, red, 0, contrast, 0, green, 0, 0, contrast, blue)
    else:
        along = saturation * math.cos(2 * math.pi * hue)
        aside = saturation * math.sin(2 * math.pi * hue)
        colour = np.array([[1, 0, 0], [0, along, -aside], [0, aside, along]])
        turned = _RGB @ colour @ _YIQ
        whole = np.column_stack([turned * contrast, turned @ np.array(added)])
        rows = tuple(whole.ravel().tolist())
    return picture.convert("RGB", rows)


def erase(pixels: Pixels, drawn: Sequence[float]) -> None:
    """Fills a box of an array of pixels, in place.

    Args:
        pixels: Array `(H, W, 3)`.
        drawn: Numbers in [0, 1) for the box's area, its aspect and its place down and
            across.
    """
    height, width, _ = pixels.shape
    low, high = _ERASED
    size = (low + (high - low) * drawn[0]) * height * width
    aspect = _ERASED_ASPECT ** signed(drawn[1])
    rows = min(max(round(math.sqrt(size * aspect)), 1), height)
    columns = min(max(round(math.sqrt(size / aspect)), 1), width)
    top, left = round(drawn[2] * (height - rows)), round(drawn[3] * (width - columns))
    pixels[top : top + rows, left : left + columns] = FILL


def signed(drawn: float) -> float:
    """Takes a number in [0, 1) to [-1, 1)."""
    return 2 * drawn - 1


def _affine(picture: Picture, data: tuple[float, ...]) -> Picture:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, data, _BILINEAR, fillcolor=FILL
    )


def _sharpen(picture: Picture, factor: float) -> Picture:
    return Image.blend(picture.filter(ImageFilter.SMOOTH), picture, factor)


# RandAugment's operations, https://arxiv.org/abs/1909.13719, figure 1. Each takes a strength,
# of which 0 leaves the picture as it is and 1 is magnitude 30 in torchvision's table,
# https://docs.pytorch.org/vision/stable/generated/torchvision.transforms.RandAugment.html.
# Where there are two directions, the strength has a sign. Solarizing starts at white, not
# at 255, which would be inverted at strength 0.
OPERATIONS: dict[str, Callable[[Picture, float], Picture]] = {
    "identity": lambda picture, _: picture,
    "auto_contrast": lambda picture, _: ImageOps.autocontrast(picture),
    "equalize": lambda picture, _: ImageOps.equalize(picture),
    "rotate": lambda picture, s: rotate(picture, 30 * s),
    "solarize": lambda picture, s: ImageOps.solarize(
        picture, round(256 * (1 - abs(s)))
    ),
    "color": lambda picture, s: ImageEnhance.Color(picture).enhance(1 + 0.9 * s),
    "posterize": lambda picture, s: ImageOps.posterize(picture, 8 - round(4 * abs(s))),
    "contrast": lambda picture, s: ImageEnhance.Contrast(picture).enhance(1 + 0.9 * s),
    "brightness": lambda picture, s: ImageEnhance.Brightness(picture).enhance(
        1 + 0.9 * s
    ),
    "sharpness": lambda picture, s: _sharpen(picture, 1 + 0.9 * s),
    "shear_x": lambda picture, s: shear(picture, 0.3 * s, 0),
    "shear_y": lambda picture, s: shear(picture, 0, 0.3 * s),
    "translate_x": lambda picture, s: shift(picture, 150 / 331 * s, 0),
    "translate_y": lambda picture, s: shift(picture, 0, 150 / 331 * s),
}
