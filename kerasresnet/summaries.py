"""Tables and numbers as text, as HTML and as plain values.

Nothing is computed here, and nothing known of what the cells mean.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasresnet.markup import Html, element, joined, table


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

    def html(self, label: str) -> Html:
        """Returns the table as HTML, escaped, in the colours that surround it.

        Args:
            label: What it is a table of, for those who hear it.
        """
        # Where there is no style sheet the numbers still stand below each other.
        made = table(label, self.header, self.rows, style="text-align: right")
        return joined([made, element("p", self.note)]) if self.note else made


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
