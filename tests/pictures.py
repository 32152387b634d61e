"""What tests of decoding share: pictures as files, and how EXIF says that they are turned."""

import io

import numpy as np
from PIL import Image

# For each EXIF orientation what a viewer does with the stored pixels.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


def encoded(image, kind="PNG", **settings):
    """Returns the bytes of a file of an array or a PIL image."""
    stream = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(stream, kind, **settings)
    return stream.getvalue()


def exif(orientation):
    """Returns EXIF data that name the orientation."""
    found = Image.Exif()
    found[0x0112] = orientation
    return found
