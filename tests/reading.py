"""What tests of pages share: HTML as a parser reads it."""

import json
from html.parser import HTMLParser

_EMPTY = {"img", "meta"}


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.elements, self.texts, self.scripts = [], [], []
        self._open = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        (self.scripts if inside in ("script", "style") else self.texts).append(data)

    def all(self, tag, **wanted):
        """Attributes of all elements of a kind."""
        return [
            found
            for name, found in self.elements
            if name == tag and wanted.items() <= found.items()
        ]

    @property
    def held(self):
        """What the page holds of each photo."""
        return json.loads(next(text for text in self.scripts if text[0] == "{"))


def read(html):
    """Parses HTML; each element must be closed where it should be."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert not reader._open
    return reader
