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
from kerasresnet.labelling import LabelIssue, LabelIssues
from kerasresnet.markup import Cell, Html, cell, element, table
from kerasresnet.summaries import between, percent
from kerasresnet.tabulation import score_rows

# With more classes a matrix tells less than the list of its largest cells.
MOST_IN_MATRIX = 40
MOST_ISSUES = 50
_MOST_PAIRS = 10
# Of the colour in a cell that is all of its row: letters of one colour are read on each.
_DEEPEST = 0.75


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
        note: What is to be said of the numbers, or `""`.
        pictures: Address of each image's small picture, or None.
        pictureless: Why images have no picture; `""` if all have one.
        worst: The mistakes that are shown large.
        history: Values of each epoch by name of the metric.
        audit: What was found in the photos.
        label_issues: Labels that look wrong.
        label_pictures: Address of the small picture of each of these, or None.
        settings: How the model was made, name and value.
    """

    title: str
    note: str = ""
    pictures: Sequence[str | None] = ()
    pictureless: str = ""
    worst: Sequence[Worst] = ()
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    audit: Audit | None = None
    label_issues: LabelIssues | None = None
    label_pictures: Sequence[str | None] = ()
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
    yield Section("summary", "Summary", list(_summary(report, contents.note)))
    yield Section("data", "Photos", list(_data(contents.audit)))
    yield Section("training", "Training", list(_training(contents.history)))
    yield Section(
        "confusion",
        "What was called what",
        list(_confusion(report, contents.pictureless)),
    )
    yield Section("classes", "Classes", list(_classes(report)))
    yield Section("reliability", "How sure it may be", list(_reliability(report)))
    yield Section("mistakes", "Surest mistakes", list(_mistakes(report, contents)))
    yield Section("labels", "Labels that look wrong", list(_labels(contents)))
    yield Section("settings", "Settings and versions", list(_settings(contents)))


# Sections -------------------------------------------------------------------------------


def _summary(report: Assessment, note: str) -> Iterator[Html]:
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
    if note:
        yield element("p", note)
    rows = score_rows(report, report.intervals)
    yield table("Scores", ("", "value", "95 % interval"), rows)
    absent = [score.name for score in report.per_class if not score.support]
    if absent:
        noun = count_of(len(absent), "class", "classes")
        yield element(
            "p", f"{noun} without images, left out of the means: {', '.join(absent)}"
        )


def _data(audit: Audit | None) -> Iterator[Html]:
    if audit is not None:
        yield Html(audit._repr_html_())


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


def _confusion(report: Assessment, pictureless: str) -> Iterator[Html]:
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
    if pictureless:
        yield element("p", pictureless, class_="soft")
    yield from _pairs(report)


def _matrix(report: Assessment) -> Html:
    names = report.class_names
    columns = (element("span", name, title=name) for name in names)
    rows = []
    for i, (name, counts) in enumerate(zip(names, report.confusion, strict=True)):
        total = max(int(counts.sum()), 1)
        cells = (_cell(int(n), int(n) / total, i, j) for j, n in enumerate(counts))
        rows.append((name, *cells))
    header = ("true \\ called", *columns)
    return table("What was called what", header, rows, class_="matrix")


def _cell(count: int, share: float, label: int, called: int) -> Cell:
    if not count:
        return cell()
    colour = f"background: rgb(0 114 178 / {_DEEPEST * share:.2f})"
    return cell(_opener(f"{count:,}", label, called), style=colour)


def _pairs(report: Assessment) -> Iterator[Html]:
    pairs = report.confused_pairs[:_MOST_PAIRS]
    if not pairs:
        yield element("p", "No image was called something else.")
        return
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
    header = ("class", "called", "images", "share of its class")
    yield table("Most confused classes", header, rows)
    left = len(report.confused_pairs) - len(pairs)
    if left:
        yield element("p", f"and {count_of(left, 'more pair')}", class_="soft")


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
        (
            one.name,
            _number(one.support, f"{one.support:,}"),
            _number(one.recall),
            _number(
                one.recall_interval[0],
                between(one.recall_interval) if one.support else "-",
            ),
            *map(_number, (one.precision, one.f1, one.roc_auc, one.average_precision)),
        )
        for one in report.per_class
    ]
    yield table("Classes", header, rows, class_="sortable")


def _number(value: float, text: str | None = None) -> Cell:
    return cell(percent(value) if text is None else text, data_value=f"{value:.6g}")


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
    yield table("Reliability", header, rows)


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
    shown = found.issues[:MOST_ISSUES]
    names = without_folder([one.source for one in shown])
    figures = [
        _issue(one, address, name)
        for one, address, name in zip(
            shown, contents.label_pictures, names, strict=True
        )
    ]
    if figures:
        yield element("div", *figures, class_="photos small")
    left = len(found.issues) - len(shown)
    if left:
        yield element("p", f"and {left:,} more", class_="soft")


def _issue(one: LabelIssue, address: str | None, name: str) -> Html:
    picture = [] if address is None else [element("img", src=address, alt=one.label)]
    told = f"{one.label} ({one.given_probability:.0%})"
    rather = f", rather {one.suggestion} ({one.probability:.0%})"
    caption = element("figcaption", element("strong", told), rather, " ", name)
    return element("figure", *picture, caption)


def _settings(contents: Contents) -> Iterator[Html]:
    if contents.settings:
        yield table("Settings", ("", "value"), contents.settings.items(), class_="text")


def without_folder(sources: Sequence[str]) -> list[str]:
    """Returns sources without the folder that all are in."""
    try:
        common = Path(os.path.commonpath(sources))
    except ValueError:  # none, on several drives, or not all absolute
        return list(sources)
    if common in map(Path, sources):  # a single image
        common = common.parent
    return [str(Path(source).relative_to(common)) for source in sources]
