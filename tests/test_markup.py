"""HTML made of elements: text stays text."""

import pytest
from reading import read

from kerasresnet.markup import Html, cell, element, joined, table

ODD = [
    "<script>alert(1)</script>",
    "</td></table>",
    "a & b &amp; &#60;",
    "\"quoted\" 'twice'",
    "",
    "ä 日本 \u202e ]]> <!--",
]


@pytest.mark.parametrize("text", ODD)
def test_text_and_attributes_come_back_as_they_were(text):
    page = read(element("p", text, title=text))
    assert "".join(page.texts) == text
    assert page.elements == [("p", {"title": text})]


def test_html_goes_in_as_it_is_and_only_once_escaped():
    inner = element("b", "<")
    assert isinstance(inner, Html)
    assert joined([inner, "<"]) == "<b>&lt;</b>&lt;"
    assert element("p", joined([inner])) == "<p><b>&lt;</b></p>"


def test_attributes_are_written_as_html_has_them():
    made = element("th", class_="a", aria_sort="none", hidden=True, title=False, x=2)
    assert made == '<th class="a" aria-sort="none" hidden x="2"></th>'
    assert element("img", src="data:,") == '<img src="data:,">'


def test_every_cell_of_a_table_is_where_it_was():
    rows = [[f"{row}{column}<" for column in range(3)] for row in range(4)]
    page = read(table("numbers", ("a", "b", "c"), rows))
    assert page.texts == ["a", "b", "c", *(text for row in rows for text in row)]
    assert len(page.all("th", scope="row")) == len(page.all("tr")) - 1 == 4
    assert len(page.all("td")) == 8
    assert page.elements[0][1]["aria-label"] == "numbers"


def test_a_cell_may_have_attributes_of_its_own():
    made = cell("<", data_value=1)
    page = read(table("numbers", ("a", "b"), [("x", made)]))
    assert page.all("td") == [{"data-value": "1"}]
