"""Names are shown as they are, whatever they are."""

import re

import pytest

from kerasresnet.markdown import escaped, table


@pytest.mark.parametrize(
    "text", ["a|b", "*bold*", "<script>alert(1)</script>", "[x](y)", "`code`", "a_b_c"]
)
def test_nothing_of_a_name_is_taken_for_markdown_or_html(text):
    shown = escaped(text)
    assert not re.search(r"(?<!\\)[|*`_\[\]]", shown)
    assert "<" not in shown
    entities = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
    back = re.sub(r"\\(.)", r"\1", shown)
    assert re.sub("&lt;|&gt;|&amp;", lambda found: entities[found[0]], back) == text


def test_a_name_stays_on_its_line_and_in_its_direction():
    assert escaped("a\n\n# b\r\u2028c") == r"a \# b c"
    assert "\u202e" not in escaped("a\u202eb")


def test_what_utf8_cannot_hold_is_replaced():
    assert escaped("x\udce9").encode() == b"x?"


def test_a_table_has_as_many_cells_as_columns():
    lines = table(("class", "n"), [("a|b", 1), ("c\nd", 2)]).splitlines()
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [3, 3, 3, 3]
