"""What a page shows beside numbers: pictures, heat maps, and what an image is called.

`pages` makes the page of it.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.assessment import Assessment, Mistake
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.decoding import Photo
from kerasresnet.disk import write_aside
from kerasresnet.errors import DataError, count_of
from kerasresnet.explanation import grad_cam, overlaid
from kerasresnet.images import ImageData
from kerasresnet.pages import page
from kerasresnet.sections import Contents, Worst
from kerasresnet.thumbnails import embedded, thumbnail

_SMALL, _LARGE = 96, 224  # longer side in px
_MOST_WORST = 24
# Characters of all small pictures, so that a page of 1,000 photos stays below 5 MB.
_MOST_EMBEDDED = 3_500_000
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
    if model is not None:
        check_classifier(model)
    photos = _photos(report, data)
    places = {source: i for i, source in enumerate(report.sources)}
    worst = [
        (each, photos[places[each.source]]) for each in report.mistakes[:_MOST_WORST]
    ]
    contents = replace(
        contents,
        pictures=_pictures(report, photos),
        worst=_worst([(m, p) for m, p in worst if p is not None], model),
    )
    # A file name that is no UTF-8 has surrogates.
    text = page(report, contents).encode("utf-8", "replace")
    write_aside(path, lambda file: file.write(text))


def _photos(report: Assessment, data: ImageData | None) -> list[Photo | None]:
    """For each image of the report where its pixels are."""
    if data is None:
        files = [Path(source) for source in report.sources]
        found: list[Photo | None] = [file if file.is_file() else None for file in files]
        absent = found.count(None)
        if absent:
            _log.warning(
                "%s of the report cannot be shown: there is no such file. Pass data=, what "
                "was evaluated.",
                count_of(absent, "image"),
            )
        return found
    places = {source: i for i, source in enumerate(data.sources)}
    missing = [source for source in report.sources if source not in places]
    if missing:
        raise DataError(
            f"data has no {missing[0]!r}, which the report is on, and lacks "
            f"{count_of(len(missing), 'image')} in all. Pass what was evaluated."
        )
    return [data.photo(places[source]) for source in report.sources]


def _pictures(report: Assessment, photos: Sequence[Photo | None]) -> list[str | None]:
    """Small pictures, those of mistakes first, until there are enough."""
    found: list[str | None] = [None] * len(photos)
    right = report.predicted == report.labels
    order = [int(i) for i in np.argsort(right, kind="stable") if photos[i] is not None]
    room = _MOST_EMBEDDED
    with ThreadPoolExecutor() as pool:
        for first in range(0, len(order), _AT_ONCE):
            some = order[first : first + _AT_ONCE]
            for i, picture in zip(
                some, pool.map(_small, [photos[i] for i in some]), strict=True
            ):
                room -= len(picture)
                if room < 0:
                    _log.info(
                        "The page has pictures of %d of %d images: more would make it "
                        "too large.",
                        len(found) - found.count(None),
                        len(found),
                    )
                    return found
                found[i] = picture
    return found


def _small(photo: Photo) -> str:
    return embedded(thumbnail(photo, _SMALL))


def _worst(
    chosen: Sequence[tuple[Mistake, Photo]], model: Classifier | None
) -> list[Worst]:
    if not chosen:
        return []
    photos = [embedded(thumbnail(photo, _LARGE)) for _, photo in chosen]
    if model is None:
        pairs = zip(chosen, photos, strict=True)
        return [Worst(mistake, photo) for (mistake, _), photo in pairs]
    maps: Any = grad_cam(
        model, [photo for _, photo in chosen], [m.predicted for m, _ in chosen]
    )
    return [
        Worst(mistake, photo, embedded(thumbnail(overlaid(heat_map), _LARGE)))
        for (mistake, _), photo, heat_map in zip(chosen, photos, maps, strict=True)
    ]
