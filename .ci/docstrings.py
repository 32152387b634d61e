"""Lets mkdocstrings read Keras's form of an example, which is not indented.

`Example:`, an empty line and `>>>` at the left margin would be taken for a quotation.
"""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^Example:\n\n(>>> .*)\Z", re.DOTALL | re.MULTILINE)


class UnindentedExamples(griffe.Extension):
    """Indents the example at the end of a docstring, as Google's form has it."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites the docstring of an object that was just read."""
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(_indented, obj.docstring.value)


def _indented(found: re.Match[str]) -> str:
    lines = found[1].splitlines()
    return "Examples:\n" + "\n".join(f"    {line}".rstrip() for line in lines)
