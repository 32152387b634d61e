"""Which photos a table lists: a CSV file, or a data frame of pandas or polars.

Names, paths and parts only; nothing is read of the photos.
"""

import csv
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from kerasresnet.arrays import check_names, frozen, numbers_of
from kerasresnet.errors import DataError, count_of, listing
from kerasresnet.folders import Listed

PART_COLUMN = "part"


def read_csv(file: Path) -> dict[str, list[str]]:
    """Returns the columns of a CSV file by name.

    Cells may be parted by semicolons, as spreadsheets write them where the comma is the
    decimal mark. Rows without a word are passed over.

    Raises:
        DataError: If it cannot be read, has no header, or rows of other lengths.
    """
    if not file.exists():
        raise DataError(f"{file} does not exist. Expected a CSV file.")
    try:
        # utf-8-sig: spreadsheets put a mark before the first name.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            parted = ";" if ";" in first and "," not in first else ","
            rows = list(csv.reader(stream, delimiter=parted))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{file} cannot be read as a CSV file in UTF-8: {error}."
        ) from error
    if not rows:
        raise DataError(f"{file} is empty. Its first line must name the columns.")
    header, body = rows[0], [row for row in rows[1:] if any(map(str.strip, row))]
    for number, row in enumerate(rows[1:], 2):
        if any(row) and len(row) != len(header):
            raise DataError(
                f"Line {number} of {file} has {count_of(len(row), 'cell')}, but there "
                f"are {len(header)} columns: {listing(header)}."
            )
    return {name: [row[i] for row in body] for i, name in enumerate(header)}


def write_csv(
    file: Path, columns: Mapping[str, Sequence[Any]], *, encoding: str = "utf-8"
) -> None:
    """Writes a CSV file.

    Args:
        file: Where to write it. What was there before is replaced.
        columns: Cells by the name of their column, all of one length.
        encoding: `"utf-8"`, or `"utf-8-sig"` for spreadsheets.
    """
    with file.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def relative_to(path: Path, folder: Path) -> str:
    """Returns how a table calls a file: from its folder on if below it, else in full.

    Args:
        path: The file. Links are not followed.
        folder: The folder, as well from the current one on.
    """
    absolute, start = (Path(os.path.abspath(one)) for one in (path, folder))  # noqa: PTH100
    if absolute.is_relative_to(start):
        return absolute.relative_to(start).as_posix()
    return str(absolute)


def frame_columns(frame: Any) -> dict[str, list[Any]]:
    """Returns the columns of a data frame of pandas or polars by name."""
    if not hasattr(frame, "columns") or not hasattr(frame, "__getitem__"):
        raise DataError(
            f"Expected a data frame of pandas or polars, received {type(frame).__name__}."
        )
    return {str(name): list(frame[name]) for name in frame.columns}


def listed(
    columns: dict[str, list[Any]],
    what: str,
    *,
    image_column: str,
    label_column: str | None,
    root: Path,
    class_names: Sequence[str] | None,
) -> Listed:
    """Returns what a table lists.

    Args:
        columns: The table.
        what: How messages call it.
        image_column: Name of the column of paths.
        label_column: Name of the column of class names, or None for photos without
            labels.
        root: Folder that relative paths start at.
        class_names: The names to count in. Defaults to those found, sorted.

    Raises:
        DataError: If a column is absent, a cell empty, or a photo not there.
    """
    cells = _column(columns, image_column, what)
    if not cells:
        raise DataError(f"{what} lists no image.")
    paths = tuple(root / str(cell) for cell in cells)
    absent = [path for path in paths if not path.exists()]
    if absent:
        raise DataError(
            f"{len(absent):,} of {len(paths):,} photos that {what} lists are not there: "
            f"{listing(absent)}. Relative paths start at {root} (in Python, root=… "
            "changes that)."
        )
    parts = None
    if PART_COLUMN in columns and PART_COLUMN not in (image_column, label_column):
        parts = tuple(_texts(columns, PART_COLUMN, what))
    if label_column is None:
        return Listed(check_names(class_names or ()), paths, None, parts)
    texts = _texts(columns, label_column, what)
    names = class_names
    if names is None and all(text.isdecimal() for text in texts):
        names = sorted(set(texts), key=int)  # not "1", "10", "2"
    labels, found = numbers_of(texts, names)
    return Listed(found, paths, np.asarray(labels), parts)


def _column(columns: dict[str, list[Any]], name: str, what: str) -> list[Any]:
    if name not in columns:
        raise DataError(
            f"{what} has no column {name!r}, but {listing(columns, 20)}. Rename the "
            "column (in Python, image_column=… and label_column=… name those to read)."
        )
    cells = columns[name]
    for number, cell in enumerate(cells, 1):
        # What a data frame holds where nothing is, differs from itself.
        if cell is None or cell != cell or not str(cell).strip():
            raise DataError(f"Row {number} of {what} has nothing in column {name!r}.")
    return cells


def _texts(columns: dict[str, list[Any]], name: str, what: str) -> list[str]:
    return [str(cell).strip() for cell in _column(columns, name, what)]


class Tabular(ABC):
    """What `ImageData` has in common with tables: photos, their labels and their parts."""

    class_names: tuple[str, ...]
    labels: Any
    paths: tuple[Path, ...] | None
    parts: tuple[str, ...] | None
    times: int

    @classmethod
    @abstractmethod
    def _from_listed(cls, found: Listed) -> Self: ...

    @classmethod
    def from_csv(
        cls,
        file: str | Path,
        *,
        image_column: str = "image_path",
        label_column: str | None = "label",
        root: str | Path | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Self:
        """Lists the photos that a CSV file names.

        A column `part` says which part a photo belongs to; `data.split()` gives these
        parts. `to_csv` writes such a file.

        Args:
            file: The CSV file, in UTF-8. Its first line names the columns.
            image_column: Name of the column of paths.
            label_column: Name of the column of class names, or None for photos without
                labels.
            root: Folder that relative paths start at. Defaults to the file's own.
            class_names: Names of the classes, in the order of their labels. Defaults
                to those in the column, sorted; numbers by their value.

        Returns:
            An `ImageData` in the order of the file.

        Raises:
            DataError: If the file or a photo is not there, a column is absent or a cell
                is empty.

        Example:

        >>> data = kr.ImageData.from_folder("flower_photos")
        >>> data.to_csv("flowers.csv")
        >>> kr.ImageData.from_csv("flowers.csv")
        ImageData(30 images, 5 classes: daisy, dandelion, roses, sunflowers, tulips)
        """
        path = Path(file)
        found = listed(
            read_csv(path),
            str(path),
            image_column=image_column,
            label_column=label_column,
            root=path.parent if root is None else Path(root),
            class_names=class_names,
        )
        return cls._from_listed(found)

    @classmethod
    def from_dataframe(
        cls,
        frame: Any,
        *,
        image_column: str = "image_path",
        label_column: str | None = "label",
        root: str | Path = ".",
        class_names: Sequence[str] | None = None,
    ) -> Self:
        """Lists the photos that a data frame of pandas or polars names.

        Args:
            frame: The data frame. It is not changed.
            image_column: As in `from_csv`.
            label_column: As in `from_csv`.
            root: Folder that relative paths start at. Defaults to the current one.
            class_names: As in `from_csv`.

        Returns:
            An `ImageData` in the order of the rows.

        Raises:
            DataError: As in `from_csv`.
        """
        found = listed(
            frame_columns(frame),
            "the data frame",
            image_column=image_column,
            label_column=label_column,
            root=Path(root),
            class_names=class_names,
        )
        return cls._from_listed(found)

    @classmethod
    def combine(cls, **parts: Self) -> Self:
        """Puts parts of a set together, each under its name.

        Args:
            **parts: Photo files, under the names of their parts.

        Returns:
            An `ImageData` whose `split()` gives the parts again.

        Raises:
            DataError: If the parts have other class names, or are not photo files.

        Example:

        >>> data = kr.ImageData.from_folder("flower_photos")
        >>> train, validation = data.split(0.2)
        >>> both = kr.ImageData.combine(train=train, validation=validation)
        >>> both.to_csv("divided.csv")
        >>> again, held_out = kr.ImageData.from_csv("divided.csv").split()
        >>> held_out.paths == validation.paths
        True
        """
        held = list(parts.values())
        if not held:
            raise DataError("There is no part to put together.")
        if any(part.paths is None for part in held):
            raise DataError("Only photo files can be put together, not arrays.")
        if len({(part.class_names, part.labels is None) for part in held}) > 1:
            raise DataError(
                "The parts have different classes. part.with_class_names(names) gives all "
                "of them the same."
            )
        labels = [part.labels for part in held if part.labels is not None]
        return replace(  # type: ignore[type-var]
            held[0],
            labels=frozen(np.concatenate(labels)) if labels else None,
            paths=tuple(path for part in held for path in part.paths or ()),
            parts=tuple(name for name, part in parts.items() for _ in part.paths or ()),
            times=max(part.times for part in held),
        )

    def to_csv(self, file: str | Path) -> None:
        """Writes which photos there are, their class and their part.

        The columns are `image_path`, `label` and, if the photos are divided, `part`.
        Paths below the file's folder are written relative to it. `from_csv` reads it.

        Args:
            file: Where to write it.

        Raises:
            DataError: If the images are not photo files.
        """
        if self.paths is None:
            raise DataError("Images in memory have no path that could be written.")
        folder = Path(file).parent
        columns: dict[str, Sequence[str]] = {
            "image_path": [relative_to(path, folder) for path in self.paths]
        }
        if self.labels is not None:
            columns["label"] = [self.class_names[label] for label in self.labels]
        if self.parts is not None:
            columns[PART_COLUMN] = self.parts
        write_csv(Path(file), columns)
