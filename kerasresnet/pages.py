"""A report as one self-contained HTML page, which fetches nothing."""

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

from kerasresnet.assessment import Assessment
from kerasresnet.markup import Html, element
from kerasresnet.sections import Contents, sections, without_folder


def page(report: Assessment, contents: Contents) -> str:
    """Returns the page.

    Args:
        report: The numbers.
        contents: Everything else.
    """
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    shown = [section for section in sections(report, contents) if section.body]
    links = [element("a", one.title, href=f"#{one.name}") for one in shown]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", contents.title),
        element("style", Html(_resource("page.css"))),
    )
    body = element(
        "body",
        element("header", element("h1", contents.title), element("nav", *links)),
        element("main", *(one.html() for one in shown)),
        _held(report, contents),
        element("script", Html(script)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _held(report: Assessment, contents: Contents) -> Html:
    """What the script shows of each image: true and predicted class, and so on."""
    rows: list[list[Any]] = []
    best = report.probabilities.max(axis=1)
    names = without_folder(report.sources)
    for i, (label, called) in enumerate(
        zip(report.labels, report.predicted, strict=True)
    ):
        share = round(float(best[i]), 3)
        picture = contents.pictures[i] if contents.pictures else None
        rows.append([int(label), int(called), share, names[i], picture])
    rows.sort(key=lambda row: (row[4] is None, -row[2]))
    held = {"names": list(report.class_names), "photos": rows}
    # Within a script only this could end it.
    text = json.dumps(held, separators=(",", ":")).replace("<", "\\u003c")
    return element("script", Html(text), type="application/json", id="photos")


def _resource(name: str) -> str:
    return files("kerasresnet").joinpath(name).read_text("utf-8")
