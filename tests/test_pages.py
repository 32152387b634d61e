"""The page: whole, self-contained, and text stays text."""

import base64
import hashlib
import re

import numpy as np
import pytest
from drawing import report_of
from reading import read

import kerasresnet as kr
from kerasresnet.pages import page
from kerasresnet.sections import Contents

ODD = ["<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "a & b", "<!--"]  # fmt: skip


def odd_report():
    labels = np.arange(8) % 4
    scores = np.full((8, 4), 0.1)
    scores[np.arange(8), (labels + labels // 2) % 4] = 0.7
    sources = tuple(f"/photos/{name}{i}" for i, name in enumerate(ODD * 2))
    return kr.Report(tuple(ODD), labels, scores, sources)


def test_names_are_text_wherever_they_stand():
    html = page(odd_report(), Contents(ODD[1], settings={ODD[0]: ODD[3]}))
    found = read(html)
    kinds = [tag for tag, _ in found.elements]
    assert kinds.count("script") == 2
    assert kinds.count("img") == 0
    assert set(ODD) <= set(found.texts)
    assert found.held["names"] == ODD
    assert {row[3] for row in found.held["photos"]} == {
        source.removeprefix("/photos/") for source in odd_report().sources
    }
    assert not any(key.startswith("on") for _, attrs in found.elements for key in attrs)


def test_nothing_is_fetched_and_only_our_script_may_run():
    html = page(odd_report(), Contents("title"))
    found = read(html)
    links = [a[key] for _, a in found.elements for key in ("src", "href") if key in a]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not found.all("link")
    assert not re.search(r"url\(|@import|https?:", "".join(found.scripts))
    (policy,) = found.all("meta", **{"http-equiv": "Content-Security-Policy"})
    digest = hashlib.sha256(found.scripts[-1].encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in policy["content"]  # fmt: skip
    assert policy["content"].startswith("default-src 'none';")


def test_every_image_is_held_once_with_its_own_answer():
    report = odd_report()
    rows = read(page(report, Contents("title"))).held["photos"]
    assert len(rows) == len(report)
    found = {name: (label, called, share) for label, called, share, name, _ in rows}
    for i, source in enumerate(report.sources):
        label, called, share = found[source.removeprefix("/photos/")]
        assert (label, called) == (report.labels[i], report.predicted[i])
        assert share == pytest.approx(report.probabilities[i].max(), abs=1e-3)


def test_every_link_leads_somewhere():
    found = read(page(odd_report(), Contents("title", history={"loss": [1.0]})))
    ends = {a["id"] for _, a in found.elements if "id" in a}
    links = {a["href"].removeprefix("#") for a in found.all("a")}
    assert len(links) == 5
    assert links <= ends


def test_a_thousand_classes_stay_small_and_readable():
    html = page(report_of(np.roll(np.eye(1000, dtype=int), 1, 0)), Contents("title"))
    assert len(html) < 2e6
    assert len(read(html).all("th", scope="row")) >= 1000


@pytest.mark.parametrize("confusion", [[[1]], [[4]], [[0, 1], [0, 0]]])
def test_the_smallest_reports_make_a_page(confusion):
    assert len(read(page(report_of(confusion), Contents("x"))).held["photos"]) == np.sum(confusion)  # fmt: skip
