"""How values show themselves in a notebook, in its colours, dark ones too.

What they hold is passed in; nothing of `ImageData`, `Audit` or `Prediction` is known here.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kerasresnet.decoding import Photo, Pixels
from kerasresnet.errors import DataError, count_of
from kerasresnet.markup import Html, cell, element, table
from kerasresnet.summaries import Table, percent
from kerasresnet.thumbnails import embedded, thumbnail

# Photos that are read to show a set of images: few, as nobody has asked for them.
MOST_SHOWN = 6
_SIDE = 96
_MOST_CLASSES = 20


def classes_html(counts: Mapping[str, int]) -> Html:
    """Returns the table of classes, the largest first.

    Args:
        counts: Number of images by name of the class.
    """
    classes = sorted(counts.items(), key=lambda item: -item[1])
    rows = [(name, f"{count:,}") for name, count in classes[:_MOST_CLASSES]]
    rest = len(classes) - len(rows)
    note = f"and {count_of(rest, 'more class', 'more classes')}" if rest else ""
    return Table(("class", "images"), rows, note).html("Images of each class")


def images_html(
    headline: str, counts: Mapping[str, int], photos: Iterable[tuple[str, Photo]]
) -> Html:
    """Returns a set of images: what it is, its classes, and some of its photos.

    Args:
        headline: What it is.
        counts: As in `classes_html`; empty if there are no classes.
        photos: Pairs of name and photo. Those that cannot be read are left out, as a
            value must show itself whatever it holds.
    """
    parts = [element("p", headline)]
    parts += [classes_html(counts)] if counts else []
    found = (_shown(photo, name) for name, photo in photos)
    return element("div", *parts, element("div", *found))


def audit_html(headline: str, counts: Mapping[str, int], findings: str) -> Html:
    """Returns what was found in a set of images.

    Args:
        headline: What was looked at.
        counts: As in `images_html`.
        findings: Lines.
    """
    parts = [element("p", headline)]
    parts += [classes_html(counts)] if counts else []
    found = element("pre", findings, style="white-space: pre-wrap", tabindex="0")
    return element("div", *parts, found)


def prediction_html(
    told: str, answers: Sequence[tuple[str, float]], image: Pixels | None, source: str
) -> Html:
    """Returns an image and what a model says of it.

    Args:
        told: The same in a line.
        answers: Pairs of class and probability, the most probable first.
        image: The pixels, or None if they are in a file.
        source: Where the image is from.
    """
    # What came as bytes or as a PIL image is gone.
    there = image is not None or Path(source).is_file()
    picture = [_shown(Path(source) if image is None else image, source)]
    rows = [
        (name, percent(share), cell(element("meter", value=f"{share:.4f}", max=1)))
        for name, share in answers
    ]
    bars = table("Answers", ("class", "probability", ""), rows)
    return element("div", *(picture if there else []), element("p", told), bars)


def _shown(photo: Photo, name: str) -> Html:
    """The picture, or nothing if it cannot be read."""
    try:
        address = embedded(thumbnail(photo, _SIDE))
    except DataError:
        return Html("")
    # Images in a notebook stand above each other unless told otherwise.
    style = "display: inline-block; margin: 2px"
    return element("img", src=address, alt=name, title=name, style=style)
