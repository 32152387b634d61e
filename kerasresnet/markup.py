"""HTML made of elements, in which text of anybody's making stays text."""

from collections.abc import Iterable
from html import escape

_EMPTY = {"img", "meta"}


class Html(str):
    """Text that is HTML already; any other `str` is escaped before it goes in."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | float | bool) -> Html:
    """Returns an element.

    Args:
        name: Its tag.
        *children: What is in it: `Html` as it is, any other text escaped.
        **attributes: Its attributes; `_` at the end of a name falls away, elsewhere it
            becomes `-`. True gives one without a value, False none.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    end = "" if name in _EMPTY else f"{joined(children)}</{name}>"
    return Html(f"<{name}{written}>{end}")


def joined(children: Iterable[str]) -> Html:
    """Returns parts one after another, text escaped."""
    return Html("".join(c if isinstance(c, Html) else escape(c) for c in children))


class Cell(Html):
    """A cell of a table that has attributes of its own; `cell` makes one."""

    __slots__ = ()


def cell(*children: str, **attributes: str | float | bool) -> Cell:
    """Returns a cell of a table.

    Args:
        *children: As in `element`.
        **attributes: As in `element`.
    """
    return Cell(element("td", *children, **attributes))


def table(
    label: str,
    header: Iterable[str],
    rows: Iterable[Iterable[str]],
    **attributes: str,
) -> Html:
    """Returns a table whose first column names the rows.

    Args:
        label: What it is a table of, for those who hear it.
        header: Names of the columns.
        rows: Cells of each row: text, `Html`, or what `cell` made.
        **attributes: Those of the table.
    """
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = [
        element("tr", element("th", first, scope="row"), *map(_as_cell, rest))
        for first, *rest in rows
    ]
    made = element(
        "table", element("thead", head), element("tbody", *body), **attributes
    )
    # A wide one is moved within its frame, not with the page; by keyboard, too.
    return element(
        "div", made, class_="wide", tabindex="0", role="group", aria_label=label
    )


def _as_cell(content: str) -> Html:
    return content if isinstance(content, Cell) else element("td", content)


def _attribute(key: str, value: str | float | bool) -> str:
    if value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
