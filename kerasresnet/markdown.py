"""Text of anybody's making within Markdown: as it reads, and nothing else.

A class may be called anything that a folder can be called: `a|b`, `*`, `<script>`.
"""

import html
import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_\[\]|~#!$])")
# Controls, and what turns the direction of the text after it.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escaped(text: object) -> str:
    """Returns text that Markdown and HTML show as it is, on one line.

    Args:
        text: Anything; its `str` counts. What UTF-8 cannot hold becomes `?`.
    """
    seen = _UNSEEN.sub(" ", str(text)).encode("utf-8", "replace").decode("utf-8")
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(seen.split()), quote=False))


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table of GitHub's Markdown.

    Args:
        header: Names of the columns.
        rows: Each with a cell for each column. They are escaped here.
    """
    lines = [header, *rows]
    first, *others = [f"| {' | '.join(map(escaped, line))} |" for line in lines]
    return "\n".join([first, "|" + "---|" * len(header), *others])
