"""What tests of figures share: a figure as pixels, and reports to draw."""

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import kerasresnet as kr


def drawn(figure):
    """The figure as pixels: drawing must work without a display."""
    assert isinstance(figure, Figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("RGB"))


def texts(axis):
    return [text.get_text() for text in axis.texts]


def titles(figure):
    """The titles of the panels that hold an image."""
    return [axis.get_title() for axis in figure.axes if axis.images]


def report_of(confusion):
    """A report with a given confusion matrix."""
    size = len(confusion)
    cells = [
        (i, j) for i in range(size) for j in range(size) for _ in range(confusion[i][j])
    ]
    return kr.Report(
        class_names=tuple(f"class {i}" for i in range(size)),
        labels=np.array([i for i, _ in cells]),
        probabilities=np.eye(size)[[j for _, j in cells]],
        sources=tuple(f"image {i}" for i in range(len(cells))),
    )
