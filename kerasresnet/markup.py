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


def table(
    header: Iterable[str], rows: Iterable[Iterable[str]], **attributes: str
) -> Html:
    """Returns a table whose first column names the rows.

    Args:
        header: Names of the columns.
        rows: Cells of each row.
        **attributes: Those of the table.
    """
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = [
        element(
            "tr", element("th", first, scope="row"), *(element("td", c) for c in rest)
        )
        for first, *rest in rows
    ]
    made = element(
        "table", element("thead", head), element("tbody", *body), **attributes
    )
    # A wide one is moved within its frame, not with the page; by keyboard, too.
    return element("div", made, class_="wide", tabindex="0")


def _attribute(key: str, value: str | float | bool) -> str:
    if value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
