"""What all figures share: a `Figure` that needs no display, colours, a grid of photos.

No global state of matplotlib is touched.
"""

import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure

# Told apart by every kind of colour vision. Okabe and Ito, https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#666666"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# Of thirteen, so that colour and marker together tell 91 classes apart.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d")
THUMBNAIL = (224, 224)
LINE = 28  # characters over a thumbnail
_SMALL_LINE = 32


class NotebookFigure(Figure):
    """A figure that a notebook shows even if pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()


def grid(
    images: Sequence[Any], titles: Sequence[str], notes: Sequence[str] = ()
) -> Figure:
    """Draws photos in rows, each with its title.

    Args:
        images: Arrays `(H, W, 3)` in 0..255.
        titles: One for each; long lines lose their beginning.
        notes: For each what stands below it in small letters, such as its path.

    Returns:
        A `Figure` whose first axes are those of the images, in order.
    """
    columns = min(len(images), max(2, math.ceil(math.sqrt(len(images)))))
    rows = math.ceil(len(images) / columns)
    height = 2.8 if notes else 2.5
    figure = NotebookFigure(
        figsize=(2.2 * columns, height * rows), layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(np.clip(image, 0, 255).astype("uint8"))
        axis.set_title(shortened(title), fontsize=10)
    for axis, note in zip(axes, notes, strict=False):
        text = shortened(note, _SMALL_LINE)
        axis.text(
            0.5,
            -0.02,
            text,
            ha="center",
            va="top",
            fontsize=7,
            transform=axis.transAxes,
        )
    return figure


def shortened(title: str, most: int = LINE) -> str:
    """Returns a title with lines of at most so many characters, and that is no formula."""
    # A dollar sign would begin a formula.
    lines = [cut(line, most) for line in title.split("\n")]
    return "\n".join(lines).replace("$", r"\$")


def cut(line: str, most: int) -> str:
    """Returns a line of at most so many characters: its end, behind an ellipsis."""
    # The end of a long path tells more than its beginning.
    return line if len(line) <= most else "…" + line[1 - most :]
