"""The sections of a report's page: each a heading and what is below it.

Nothing is computed here. `pages` puts them together.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kerasresnet.assessment import Assessment, Mistake
from kerasresnet.audit import Audit
from kerasresnet.charts import line_chart, reliability_chart
from kerasresnet.errors import count_of
from kerasresnet.labelling import LabelIssues
from kerasresnet.markup import Html, element, table
from kerasresnet.summaries import between, decimal, percent

# With more classes a matrix tells less than the list of its largest cells.
MOST_IN_MATRIX = 40
_MOST_PAIRS, _MOST_ISSUES = 10, 50
_DARK = 0.55  # share of a row from which its cell needs light letters
_TITLES = {
    "top_5": "top-5 accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC AUC, mean over classes",
    "average_precision": "average precision, mean over classes",
    "calibration_error": "expected calibration error",
    "log_loss": "log loss",
}


@dataclass(frozen=True)
class Worst:
    """A mistake with its pictures.

    Args:
        mistake: What it is.
        photo: Address of its picture.
        heat_map: Address of the picture under the heat map of the wrong answer, or None.
    """

    mistake: Mistake
    photo: str
    heat_map: str | None = None


@dataclass(frozen=True)
class Contents:
    """What a page shows beside the numbers of a report. What is absent has no section.

    Args:
        title: Heading of the page.
        pictures: Address of each image's small picture, or None.
        worst: The mistakes that are shown large.
        history: Values of each epoch by name of the metric.
        audit: What was found in the photos.
        label_issues: Labels that look wrong.
        settings: How the model was made, name and value.
    """

    title: str
    pictures: Sequence[str | None] = ()
    worst: Sequence[Worst] = ()
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    audit: Audit | None = None
    label_issues: LabelIssues | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        name: What links call it.
        title: Its heading.
        body: What is below; without any there is no section.
    """

    name: str
    title: str
    body: Sequence[str]

    def html(self) -> Html:
        """Returns the section."""
        heading = element("h2", self.title)
        return element("section", heading, *self.body, id=self.name, class_="long")


def sections(report: Assessment, contents: Contents) -> Iterator[Section]:
    """Yields all sections, also those without a body.

    Args:
        report: The numbers.
        contents: Everything else.
    """
    yield Section("summary", "Summary", list(_summary(report)))
    yield Section("data", "Photos", list(_data(report, contents.audit)))
    yield Section("training", "Training", list(_training(contents.history)))
    yield Section("confusion", "What was called what", list(_confusion(report)))
    yield Section("classes", "Classes", list(_classes(report)))
    yield Section("reliability", "How sure it may be", list(_reliability(report)))
    yield Section("mistakes", "Surest mistakes", list(_mistakes(report, contents)))
    yield Section("labels", "Labels that look wrong", list(_labels(contents)))
    yield Section("settings", "Settings and versions", list(_settings(contents)))


# Sections -------------------------------------------------------------------------------


def _summary(report: Assessment) -> Iterator[Html]:
    right = len(report) - len(report.mistakes)
    low, high = report.accuracy_interval
    big = element("strong", f"{report.accuracy:.1%}")
    yield element(
        "p",
        big,
        f" right: {right:,} of {count_of(len(report), 'image')}. Of other photos like "
        f"these it would be {low:.1%} to {high:.1%} (95 % interval).",
        class_="big",
    )
    rows = []
    for name, ends in report.intervals.items():
        if name == "top_5" and len(report.class_names) <= 5:
            continue
        write = decimal if name == "log_loss" else percent
        value = report.top_k(5) if name == "top_5" else getattr(report, name)
        title = _TITLES.get(name, name.replace("_", " "))
        rows.append((title, write(value), between(ends, write)))
    yield table(("", "value", "95 % interval"), rows)
    absent = [score.name for score in report.per_class if not score.support]
    if absent:
        noun = count_of(len(absent), "class", "classes")
        yield element(
            "p", f"{noun} without images, left out of the means: {', '.join(absent)}"
        )


def _data(report: Assessment, audit: Audit | None) -> Iterator[Html]:
    if audit is not None:
        yield element("pre", str(audit), tabindex="0")


def _training(history: Mapping[str, Sequence[float]]) -> Iterator[Html]:
    metrics = [n for n in history if not n.startswith("val_") and n != "learning_rate"]
    charts = []
    for name in metrics:
        lines = {"training": history[name]}
        if f"val_{name}" in history:
            lines["validation"] = history[f"val_{name}"]
        write = "{:.0%}".format if "accuracy" in name else "{:g}".format
        title = name.replace("_", " ")
        charts.append(line_chart(lines, title=title, write=write))
    if any(len(values) for values in history.values()):
        yield element("div", *charts, class_="charts")


def _confusion(report: Assessment) -> Iterator[Html]:
    if len(report.class_names) <= MOST_IN_MATRIX:
        yield element(
            "p",
            "Rows are true classes, columns what their images were called; the colour is "
            "the share of the row. Choose a number to see its photos.",
        )
        yield _matrix(report)
    # Filled by the script.
    yield element(
        "div", id="photos-of-cell", aria_live="polite", class_="screen", tabindex="-1"
    )
    pairs = report.confused_pairs[:_MOST_PAIRS]
    if pairs:
        number = {name: i for i, name in enumerate(report.class_names)}
        rows = [
            (
                pair.label,
                pair.predicted,
                _opener(f"{pair.count:,}", number[pair.label], number[pair.predicted]),
                percent(pair.share),
            )
            for pair in pairs
        ]
        left = len(report.confused_pairs) - len(pairs)
        yield table(("class", "called", "images", "share of its class"), rows)
        if left:
            yield element("p", f"and {count_of(left, 'more pair')}", class_="soft")
    else:
        yield element("p", "No image was called something else.")


def _matrix(report: Assessment) -> Html:
    names = report.class_names
    corner = element("th", "true \\ called", scope="col")
    columns = (
        element("th", element("span", name), scope="col", title=name) for name in names
    )
    rows = []
    for i, (name, counts) in enumerate(zip(names, report.confusion, strict=True)):
        total = max(int(counts.sum()), 1)
        cells = (_cell(int(n), int(n) / total, i, j) for j, n in enumerate(counts))
        rows.append(element("tr", element("th", name, scope="row"), *cells))
    made = element(
        "table",
        element("thead", element("tr", corner, *columns)),
        element("tbody", *rows),
        class_="matrix",
    )
    return element("div", made, class_="wide", tabindex="0")


def _cell(count: int, share: float, label: int, called: int) -> Html:
    if not count:
        return element("td")
    colour = f"background: rgb(0 114 178 / {share:.2f})"
    style = "dark" if share > _DARK else False
    return element(
        "td", _opener(f"{count:,}", label, called), style=colour, class_=style
    )


def _opener(text: str, label: int, called: int) -> Html:
    return element(
        "button",
        text,
        type="button",
        aria_pressed="false",
        data_label=label,
        data_called=called,
        class_="open",
    )


def _classes(report: Assessment) -> Iterator[Html]:
    header = (
        "class",
        "images",
        "recall",
        "95 % interval",
        "precision",
        "F1",
        "ROC AUC",
        "average precision",
    )
    rows = [
        element(
            "tr",
            element("th", one.name, scope="row"),
            _number(float(one.support), f"{one.support:,}"),
            _number(one.recall),
            _number(
                one.recall_interval[0],
                between(one.recall_interval) if one.support else "-",
            ),
            *map(_number, (one.precision, one.f1, one.roc_auc, one.average_precision)),
        )
        for one in report.per_class
    ]
    head = element("tr", *(element("th", name, scope="col") for name in header))
    made = element(
        "table", element("thead", head), element("tbody", *rows), class_="sortable"
    )
    yield element("div", made, class_="wide", tabindex="0")


def _number(value: float, text: str | None = None) -> Html:
    return element("td", percent(value) if text is None else text, data_value=value)


def _reliability(report: Assessment) -> Iterator[Html]:
    wrong, mean = report.calibration_error, report.mean_confidence
    least = report.intervals["calibration_error"][0]
    verdict = "no more than chance makes of so few images"
    if least > 0:
        side = "surer than it is right" if mean > report.accuracy else "too unsure"
        verdict = f"{side}; kr.calibrate mends that"
    yield element(
        "p",
        f"Mean confidence is {mean:.1%}, accuracy {report.accuracy:.1%}. The expected "
        f"calibration error is {wrong:.1%}: {verdict}.",
    )
    yield element("div", reliability_chart(report.reliability), class_="charts")
    rows = [
        (
            f"{one.low:.0%} to {one.high:.0%}",
            f"{one.count:,}",
            percent(one.confidence),
            percent(one.accuracy),
            between(one.accuracy_interval),
        )
        for one in report.reliability
        if one.count
    ]
    header = ("confidence", "images", "mean confidence", "accuracy", "95 % interval")
    yield table(header, rows)


def _mistakes(report: Assessment, contents: Contents) -> Iterator[Html]:
    if not contents.worst:
        return
    if any(one.heat_map for one in contents.worst):
        yield element(
            "p",
            "Beside each photo, where the network saw evidence for its wrong answer "
            "(Grad-CAM at conv5; bright is most).",
        )
    called = dict(zip(report.sources, without_folder(report.sources), strict=True))
    figures = [_figure(one, called[one.mistake.source]) for one in contents.worst]
    yield element("div", *figures, class_="photos")
    left = len(report.mistakes) - len(contents.worst)
    if left:
        yield element("p", f"and {count_of(left, 'more mistake')}", class_="soft")


def _figure(worst: Worst, name: str) -> Html:
    mistake = worst.mistake
    told = f"{mistake.label}, called {mistake.predicted} ({mistake.probability:.0%})"
    pictures = [element("img", src=worst.photo, alt=told)]
    if worst.heat_map is not None:
        alt = f"evidence for {mistake.predicted}"
        pictures.append(element("img", src=worst.heat_map, alt=alt))
    caption = element("figcaption", element("strong", told), " ", name)
    return element("figure", element("div", *pictures, class_="pair"), caption)


def _labels(contents: Contents) -> Iterator[Html]:
    found = contents.label_issues
    if found is None:
        return
    yield element(
        "p",
        f"{count_of(len(found.issues), 'label')} of {found.images:,} disagree with a head "
        "that has not seen the photo (confident learning). Look at them: not all are wrong.",
    )
    if found.issues:
        shown = found.issues[:_MOST_ISSUES]
        names = without_folder([one.source for one in shown])
        rows = [
            (
                name,
                one.label,
                percent(one.given_probability),
                one.suggestion,
                percent(one.probability),
            )
            for name, one in zip(names, shown, strict=True)
        ]
        header = ("photo", "label", "its probability", "suggestion", "its probability")
        yield table(header, rows, class_="text")
    left = len(found.issues) - _MOST_ISSUES
    if left > 0:
        yield element("p", f"and {left:,} more", class_="soft")


def _settings(contents: Contents) -> Iterator[Html]:
    if contents.settings:
        yield table(("", "value"), contents.settings.items(), class_="text")


def without_folder(sources: Sequence[str]) -> list[str]:
    """Returns sources without the folder that all are in."""
    try:
        common = Path(os.path.commonpath(sources))
    except ValueError:  # none, on several drives, or not all absolute
        return list(sources)
    if common in map(Path, sources):  # a single image
        common = common.parent
    return [str(Path(source).relative_to(common)) for source in sources]
