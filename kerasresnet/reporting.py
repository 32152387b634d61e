"""What a page shows beside numbers: pictures, heat maps, and why some are absent.

`pages` makes the page of it.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.assessment import Assessment, Mistake
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.decoding import Photo, read_image
from kerasresnet.disk import write_aside
from kerasresnet.errors import DataError, count_of, listing
from kerasresnet.explanation import grad_cam, overlaid
from kerasresnet.images import ImageData
from kerasresnet.labelling import LabelIssues
from kerasresnet.pages import page
from kerasresnet.sections import MOST_ISSUES, Contents, Worst
from kerasresnet.thumbnails import embedded, thumbnail

_SMALL, _LARGE = 96, 224  # longer side in px
_MOST_WORST = 24
# Characters of all pictures, so that a page of 1,000 photos stays below 5 MB.
_MOST_EMBEDDED = 4_000_000
_AT_ONCE = 64

_log = logging.getLogger(__name__)


def write_page(
    report: Assessment,
    path: Path,
    contents: Contents,
    *,
    data: ImageData | None = None,
    model: Classifier | None = None,
) -> None:
    """Writes a report as a page, whole or not at all.

    Args:
        report: The numbers.
        path: The file.
        contents: What is shown beside them; pictures are added here.
        data: As in `Report.to_html`.
        model: As in `Report.to_html`.

    Raises:
        DataError: As `Report.to_html`.
    """
    if not path.absolute().parent.is_dir():
        raise DataError(
            f"There is no folder {path.absolute().parent} for {path.name}. Make it first, or "
            "choose another."
        )
    if model is not None:
        _check_same_classes(report, check_classifier(model))
    photos = _photos(report, data)
    worst = _worst(report, list(_chosen(report, photos)), model)
    labels = _label_pictures(contents.label_issues)
    others = [*labels, *(each for w in worst for each in (w.photo, w.heat_map))]
    room = _MOST_EMBEDDED - sum(len(each) for each in others if each is not None)
    pictures = _pictures(report, photos, room)
    absent = list(_absent(photos, pictures))
    for sentence in absent:
        _log.warning("%s", sentence)
    contents = replace(
        contents,
        pictures=pictures,
        pictureless=" ".join(absent),
        worst=worst,
        label_pictures=labels,
    )
    # A file name that is no UTF-8 has surrogates.
    text = page(report, contents).encode("utf-8", "replace")
    write_aside(path, lambda file: file.write(text))


def _check_same_classes(report: Assessment, model: Classifier) -> None:
    ours, theirs = report.class_names, model.class_names
    if set(ours) != set(theirs) and (model.named or len(ours) != len(theirs)):
        raise ValueError(
            f"The report is of another model: expected the classes {listing(theirs)}, "
            f"received {listing(ours)}. evaluate(model, data) makes one."
        )


def _photos(report: Assessment, data: ImageData | None) -> list[Photo | None]:
    """For each image of the report where its pixels are."""
    if data is None:
        files = [Path(source) for source in report.sources]
        return [file if file.is_file() else None for file in files]
    places = {source: i for i, source in enumerate(data.sources)}
    missing = [source for source in report.sources if source not in places]
    if missing:
        raise DataError(
            f"data has no {missing[0]!r}, which the report is on, and lacks "
            f"{count_of(len(missing), 'image')} in all. Pass what was evaluated; if photos "
            "were moved, evaluate again where they are now."
        )
    return [data.photo(places[source]) for source in report.sources]


def _chosen(
    report: Assessment, photos: Sequence[Photo | None]
) -> Iterator[tuple[Mistake, Photo]]:
    """The surest mistakes whose photos are there."""
    places = dict(zip(report.sources, photos, strict=True))
    for mistake in report.mistakes[:_MOST_WORST]:
        photo = places[mistake.source]
        if photo is not None:
            yield mistake, photo


def _worst(
    report: Assessment,
    chosen: Sequence[tuple[Mistake, Photo]],
    model: Classifier | None,
) -> list[Worst]:
    photos = [thumbnail(photo, _LARGE) for _, photo in chosen]
    shown = [
        Worst(mistake, embedded(photo))
        for (mistake, _), photo in zip(chosen, photos, strict=True)
    ]
    if model is None or not chosen:
        return shown
    # A model without names was scored in the order of those of the data.
    names = model.class_names if model.named else report.class_names
    called = [model.class_names[names.index(m.predicted)] for m, _ in chosen]
    maps: Any = grad_cam(model, [photo for _, photo in chosen], called)
    # The model saw the photo as a square: the map gets the shape of the photo back.
    pictures = [
        embedded(read_image(overlaid(each), photo.shape[:2]))
        for each, photo in zip(maps, photos, strict=True)
    ]
    return [
        replace(each, heat_map=picture)
        for each, picture in zip(shown, pictures, strict=True)
    ]


def _label_pictures(found: LabelIssues | None) -> list[str | None]:
    issues = () if found is None else found.issues[:MOST_ISSUES]
    if found is None or not found.files:  # `"image 7"` may be one of another array
        return [None] * len(issues)
    files = [Path(one.source) for one in issues]
    return [_small(file) if file.is_file() else None for file in files]


def _pictures(
    report: Assessment, photos: Sequence[Photo | None], room: int
) -> list[str | None]:
    """Small pictures, those of mistakes first, until there is no room."""
    found: list[str | None] = [None] * len(photos)
    right = report.predicted == report.labels
    order = [int(i) for i in np.argsort(right, kind="stable") if photos[i] is not None]
    with ThreadPoolExecutor() as pool:
        for first in range(0, len(order), _AT_ONCE):
            some = order[first : first + _AT_ONCE]
            made = pool.map(_small, [photos[i] for i in some])
            for i, picture in zip(some, made, strict=True):
                room -= len(picture)
                if room < 0:
                    return found
                found[i] = picture
    return found


def _absent(
    photos: Sequence[Photo | None], pictures: Sequence[str | None]
) -> Iterator[str]:
    """Why images have no picture, in sentences."""
    missing = sum(photo is None for photo in photos)
    if missing:
        yield (
            f"{missing:,} of {count_of(len(photos), 'image')} cannot be shown: there is no "
            "such file. Pass data=, what was evaluated."
        )
    left_out = sum(picture is None for picture in pictures) - missing
    if left_out:
        yield (
            f"{left_out:,} of {count_of(len(photos), 'image')} have no picture: the page "
            "would grow too large."
        )


def _small(photo: Photo) -> str:
    return embedded(thumbnail(photo, _SMALL))
