"""Labels to correct: a table that a spreadsheet edits, and what it asks for.

Names, numbers and paths only. Which labels look wrong is found in `labelling`.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, count_of, listing
from kerasresnet.tables import read_csv, relative_to, write_csv

SOURCE_COLUMN, LABEL_COLUMN, NEW_COLUMN = "source", "label", "new_label"
# What makes a spreadsheet take a cell for a formula, after
# https://owasp.org/www-community/attacks/CSV_Injection.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Correction:
    """One row of the table.

    Args:
        source: Where the image is from, as the table calls it.
        key: What the image is known by.
        label: Number of the class that it has.
        new_label: That of the class it should have, or -1 to leave it out.
    """

    source: str
    key: str
    label: int
    new_label: int


def write_corrections(
    file: Path, columns: Mapping[str, Sequence[str]], *, files: bool
) -> None:
    """Writes a table to be edited in a spreadsheet.

    In UTF-8 with a mark, without which spreadsheets misread names. A cell that one would
    take for a formula gets a `'` before it, which is taken off when it is read.

    Args:
        file: Where to write it.
        columns: Cells by the name of their column. Sources are in `"source"`.
        files: Whether the sources are paths: those below the file's folder are written
            relative to it, others from the root.
    """
    cells = dict(columns)
    if files:
        cells[SOURCE_COLUMN] = [
            relative_to(Path(source), file.parent) for source in cells[SOURCE_COLUMN]
        ]
    shielded = {name: [_shielded(one) for one in some] for name, some in cells.items()}
    write_csv(file, shielded, encoding="utf-8-sig")


def corrected_labels(
    file: Path,
    sources: Sequence[str],
    labels: Pixels,
    class_names: Sequence[str],
    *,
    root: Path | None,
) -> Pixels:
    """Returns the labels that images have after a table of corrections.

    All of the table is applied, or nothing.

    Args:
        file: The table.
        sources: Where each image is from.
        labels: Integers `(N,)`.
        class_names: In label order.
        root: Folder that relative paths of the table start at, or None if the images are
            no files.

    Returns:
        Integers `(N,)`, -1 for an image to leave out.

    Raises:
        DataError: If the table cannot be read, names an image that is not there, a class
            that the data does not have, or a label that an image does not have, or says
            two things of one image.
    """
    rows = _read(file, class_names, root)
    places: dict[str, list[int]] = {}
    for place, key in enumerate(_keys(sources, None if root is None else Path())):
        places.setdefault(key, []).append(place)
    foreign = [row.source for row in rows if row.key not in places]
    start = (
        "" if root is None else f" Relative paths start at {root} (root= changes it)."
    )
    _refuse(foreign, file, "images that are not in the data", start)
    _check_labels(
        file, rows, [{int(labels[i]) for i in places[row.key]} for row in rows]
    )
    found = np.array(labels)
    for row in rows:
        mine = np.array(places[row.key])
        found[mine[labels[mine] == row.label]] = row.new_label
    _report(file, labels, found)
    return found


def _read(
    file: Path, class_names: Sequence[str], root: Path | None
) -> list[_Correction]:
    columns = read_csv(file)
    needed = (SOURCE_COLUMN, LABEL_COLUMN, NEW_COLUMN)
    absent = [name for name in needed if name not in columns]
    if absent:
        raise DataError(
            f"{file} has no column {listing(absent)}, but {listing(columns, 20)}. "
            "label_issues(model, data).to_csv(file) writes such a table."
        )
    numbers = {name: number for number, name in enumerate(class_names)}
    sources, old, new = ([_bare(cell) for cell in columns[name]] for name in needed)
    old, new = ([_name(cell, numbers) for cell in names] for names in (old, new))
    _refuse(
        sorted(
            {repr(name) for name in (*old, *filter(None, new)) if name not in numbers}
        ),
        file,
        "classes that the data does not have",
        f" Its classes: {listing(class_names, 20)}. data.with_class_names(names) gives it "
        "more, or names in place of numbers.",
    )
    return [
        _Correction(source, key, numbers[label], numbers.get(new_label, -1))
        for source, key, label, new_label in zip(
            sources, _keys(sources, root), old, new, strict=True
        )
    ]


def _check_labels(
    file: Path, rows: Sequence[_Correction], held: Sequence[set[int]]
) -> None:
    """Refuses rows for labels that their images do not have, or that contradict."""
    stale = [
        row.source
        for row, labels in zip(rows, held, strict=True)
        if row.label not in labels
    ]
    _refuse(
        stale,
        file,
        "labels that these images do not have",
        " Was it applied before, or written for other data?",
    )
    decided: dict[tuple[str, int], int] = {}
    twice = [
        row.source
        for row in rows
        if decided.setdefault((row.key, row.label), row.new_label) != row.new_label
    ]
    _refuse(twice, file, "different new labels for these images")


def _name(cell: str, known: Mapping[str, int]) -> str:
    return cell if cell in known else cell.strip()


def _keys(sources: Iterable[str], root: Path | None) -> list[str]:
    """For each image what it is known by: its path from the root, if it is a file."""
    if root is None:
        return list(sources)
    # As the names say, without following links.
    return [os.path.abspath(root / source) for source in sources]  # noqa: PTH100


def _refuse(found: Sequence[str], file: Path, what: str, remedy: str = "") -> None:
    if found:
        raise DataError(
            f"{file} names {what}: {listing(found, 10)}. Nothing is changed.{remedy}"
        )


def _report(file: Path, before: Pixels, after: Pixels) -> None:
    left_out = int((after < 0).sum())
    _log.info(
        "%s changes the label of %s and leaves out %d.",
        file,
        count_of(int((after != before).sum()) - left_out, "image"),
        left_out,
    )


def _shielded(cell: str) -> str:
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA) else cell


def _bare(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and _shielded(cell) != cell else cell
