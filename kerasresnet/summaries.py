"""Tables and numbers as text, as HTML and as plain values.

Nothing is computed here, and nothing known of what the cells mean.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Table:
    """Cells with a header; the first column is text, the others are numbers.

    Args:
        header: Names of the columns.
        rows: Cells of each row, as many as the header has.
        note: What is to be said below, or `""`.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def lines(self) -> list[str]:
        """Returns the lines of the table as text, aligned."""
        cells = [self.header, *self.rows]
        first, *others = (max(map(len, column)) for column in zip(*cells, strict=True))
        lines = [
            "  ".join(
                [
                    f"{row[0]:<{first}}",
                    *(f"{c:>{w}}" for c, w in zip(row[1:], others, strict=True)),
                ]
            ).rstrip()
            for row in cells
        ]
        return [*lines, self.note] if self.note else lines

    def html(self) -> str:
        """Returns the table as HTML, escaped, in the colours that surround it."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.header)
        body = "".join(f"<tr>{_html_row(row)}</tr>" for row in self.rows)
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"
        )


def percent(share: float) -> str:
    """Returns a share such as `"12.5%"`, or `"-"` for NaN."""
    return "-" if math.isnan(share) else f"{share:.1%}"


def decimal(value: float) -> str:
    """Returns a number such as `"0.1250"`, or `"-"` for NaN."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def between(ends: tuple[float, float], write: Callable[[float], str] = percent) -> str:
    """Returns an interval such as `"10.0% to 15.0%"`, or `"no interval"` for NaN.

    Args:
        ends: The interval.
        write: Turns a number into text.
    """
    low, high = ends
    return "no interval" if math.isnan(low) else f"{write(low)} to {write(high)}"


def plain(value: Any) -> Any:
    """Returns a value as JSON knows it: lists for tuples and arrays, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _html_row(row: Sequence[str]) -> str:
    name, *numbers = map(escape, row)
    cells = (f'<td style="text-align: right">{number}</td>' for number in numbers)
    return f'<th style="text-align: left">{name}</th>{"".join(cells)}'
