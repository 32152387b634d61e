"""`model_card`: what is known of a model, as Markdown. What is not known is not stated.

The sections are those of Mitchell et al. 2019, https://arxiv.org/abs/1810.03993, below the
front matter that Hugging Face reads.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kerasresnet.catalogue import ARCHITECTURES
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.disk import write_aside
from kerasresnet.durations import format_duration
from kerasresnet.errors import ArtifactError, count_of
from kerasresnet.evaluation import Report
from kerasresnet.manifests import SPLIT, read_manifest
from kerasresnet.markdown import escaped, table
from kerasresnet.notes import read_settings
from kerasresnet.tables import PART_COLUMN, read_csv
from kerasresnet.tabulation import class_rows, matrix_rows, score_rows

_FRONT = """---
library_name: keras
pipeline_tag: image-classification
tags:
- image-classification
- kerasresnet
- resnet
metrics:
- accuracy
---"""
_USE = """```python
import kerasresnet as kr
model = kr.load("model.keras")
print(kr.predict(model, "photo.jpg")[0])
```"""
_MOST_IN_MATRIX = 12
_MOST_NAMES = 100
_FEW = 30  # images of a class, below which its recall is hardly known


def model_card(
    model: Classifier,
    report: Report,
    *,
    run_dir: str | Path | None = None,
    path: str | Path | None = None,
) -> str:
    """Writes a model card: the usual sections, from what is known, nothing invented.

    The sections are those of Mitchell et al. 2019, https://arxiv.org/abs/1810.03993, below
    front matter that Hugging Face reads. What only the author knows, such as the licence
    and what the model is meant for, says "Not stated." and what to write there.

    Args:
        model: A `Classifier`.
        report: Its scores, from `evaluate`.
        run_dir: Folder of the run of `train` that the model is from; its manifest tells
            how the model was trained and on what. Defaults to not stated.
        path: Where to write it, such as `"README.md"` beside the model. Replaced if
            there is one.

    Returns:
        The text.

    Raises:
        ArtifactError: If there is no run in `run_dir`, or it is another model's.
        ValueError: If the report is another model's.

    Example:

    >>> model = kr.build_classifier(class_names=["cat", "dog"], weights=None)
    >>> scores = np.array([[0.9, 0.1], [0.4, 0.6]])
    >>> report = kr.Report(("cat", "dog"), np.array([0, 1]), scores, ("a.jpg", "b.jpg"))
    >>> card = kr.model_card(model, report)
    >>> [line for line in card.splitlines() if line.startswith("#")][:2]
    ['# Image classifier: cat, dog', '## Model details']
    """
    check_classifier(model)
    if report.class_names != model.class_names:
        raise ValueError(
            f"The report is of another model: expected the classes {model.class_names}, "
            f"received {report.class_names}. evaluate(model, data) makes one."
        )
    run = None if run_dir is None else _run(model, Path(run_dir))
    folder = None if run_dir is None else Path(run_dir)
    names = [escaped(name) for name in model.class_names]
    title = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    sections = [
        _FRONT,
        f"# Image classifier: {title}",
        "## Model details",
        *_details(model, run, folder),
        f"How to use it:\n\n{_USE}",
        *_meant_for(),
        "## Metrics",
        *_metrics(model),
        "## Evaluation data",
        *_evaluation_data(report, run),
        "## Training data",
        *_training_data(run, folder),
        "## Training procedure",
        *_procedure(run),
        "## Quantitative analyses",
        *_analyses(report),
        *_judgement(report),
    ]
    text = "\n\n".join(sections) + "\n"
    if path is not None:
        write_aside(Path(path), lambda file: file.write(text.encode()))
    return text


def _run(model: Classifier, folder: Path) -> dict[str, Any]:
    run = read_manifest(folder)
    if tuple(run["class_names"]) != model.class_names:
        raise ArtifactError(
            f"The run in {folder} is another model's: expected the classes "
            f"{model.class_names}, received {tuple(run['class_names'])}."
        )
    return run


def _not_stated(hint: str) -> str:
    return f"Not stated. *To be written by the author: {hint}*"


def _bullets(facts: Mapping[str, str]) -> str:
    return "\n".join(f"- **{name}:** {text}" for name, text in facts.items())


def _details(
    model: Classifier, run: Mapping[str, Any] | None, folder: Path | None
) -> Iterator[str]:
    config = model.get_config()
    height, width = model.image_size
    upsampled = config["upsample_to"]
    grown = f", upsampled inside to {_by(upsampled)} px" if upsampled else ""
    hidden = config["hidden_units"]
    head = ", ".join(str(units) for units in hidden)
    backbone = _network(model)
    facts = {
        "Kind": f"{backbone}, as a Keras model of the library kerasresnet",
        "Classes": _names(model.class_names),
        "Input": f"RGB, {height} x {width} px, values 0..255{grown}; the preprocessing "
        "is part of the model",
        "Output": "a probability for each class",
        "Head": f"{config['pooling']} pooling, then "
        + (f"Dense layers of {head} units with ReLU, then " if hidden else "")
        + "one Dense layer with softmax",
        "Parameters": f"{model.count_params():,}",
        "Weights at the beginning": _weights(folder),
        "Versions": _versions(run),
        "Author": _not_stated("person or organisation, contact, date and version."),
        "Licence": _not_stated(
            "the licence of the model; it depends on those of the photos and of the "
            "weights at the beginning. Hugging Face reads `license:` in the lines on top."
        ),
    }
    yield _bullets(facts)


def _network(model: Classifier) -> str:
    known = ARCHITECTURES.get(model.backbone)
    if known is None:
        return escaped(model.backbone)
    stem = " with the stem for small images" if model.stem == "cifar" else ""
    return f"{known.title} ({known.source}){stem}"


def _by(size: Sequence[int]) -> str:
    return " x ".join(str(side) for side in size)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(escaped(name) for name in names[:_MOST_NAMES])
    left = len(names) - _MOST_NAMES
    more = f" and {left:,} more, as `model.class_names` has them" if left > 0 else ""
    return f"{len(names):,}: {shown}{more}"


def _weights(folder: Path | None) -> str:
    if folder is not None:
        with suppress(ArtifactError):  # only the command line writes it
            given = read_settings(folder)[0].weights
            # A path may tell more than its owner wants to publish.
            return "random" if given is None else escaped(Path(given).name)
    return _not_stated("what the network had learned before, such as ImageNet.")


def _versions(run: Mapping[str, Any] | None) -> str:
    if run is None:
        return _not_stated("of Python, Keras and TensorFlow in training.")
    return ", ".join(f"{name} {escaped(v)}" for name, v in run["versions"].items())


def _meant_for() -> list[str]:
    return [
        "## Intended use",
        _not_stated(
            "what the model is for, for whom, and what it must not be used for."
        )
        + "\n\nWhat can be said of every such model: it gives each photo one of its "
        "classes, also a photo that shows none of them.",
        "## Factors",
        _not_stated(
            "what the result may depend on: groups, cameras, light, places, seasons; and "
            "which of these the evaluation covers."
        ),
    ]


def _metrics(model: Classifier) -> Iterator[str]:
    yield (
        "Accuracy is the share of photos whose most probable class is the right one, "
        "top-5 the share whose class is among the five most probable, recall the accuracy "
        "on the photos of one class. Their 95 % intervals are Wilson's (1927). Balanced "
        "accuracy is the mean of the recalls, macro F1 that of the F1 scores; ROC AUC and "
        "average precision are means over the classes, each against the rest; the "
        "calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599) is how far "
        "probabilities are from the shares that are right; the log loss is in nats. Their "
        "intervals are from a bootstrap of the photos."
    )
    held = model.certainty
    if held is not None and held.images:
        yield (
            f"The probabilities were calibrated on {count_of(held.images, 'photo')}: if "
            "these are among those below, log loss and calibration error flatter."
        )
    if model.threshold is None:
        yield "No threshold is set on the probability."
    else:
        yield (
            f"Below a probability of {model.threshold:.4f} the answer is unknown; the "
            "scores below are of all photos, as if it always answered."
        )


def _evaluation_data(report: Report, run: Mapping[str, Any] | None) -> Iterator[str]:
    yield f"{count_of(len(report), 'photo')}."
    result = {} if run is None else run.get("result", {})
    low, high = report.accuracy_interval
    if [result.get("accuracy"), result.get("interval")] == [
        report.accuracy,
        [low, high],
    ]:
        yield (
            "The numbers are those of the run's own validation photos, which chose the "
            "best epoch, too: they flatter a little."
        )
    yield _not_stated(
        "where these photos are from, whether they took part in any choice, and how like "
        "those they are that the model will meet."
    )


def _training_data(run: Mapping[str, Any] | None, folder: Path | None) -> Iterator[str]:
    if run is not None:
        facts = {
            "Photos to train on": f"{run['recipe']['images']:,}",
            "Fingerprint of the training photos": f"`{escaped(run['train'])}`",
            "Fingerprint of the validation photos": f"`{escaped(run['validation'])}`",
        }
        yield _bullets(facts)
    if folder is not None and (folder / SPLIT).exists():
        yield _counts(read_csv(folder / SPLIT))
    yield _not_stated(
        "where the photos are from, how they were chosen and labelled, who may use them."
    )


def _counts(columns: Mapping[str, Sequence[str]]) -> str:
    """How many photos of each class are in each part."""
    found = Counter(zip(columns["label"], columns[PART_COLUMN], strict=True))
    parts = list(dict.fromkeys(columns[PART_COLUMN]))
    rows = [
        (name, *(f"{found[name, part]:,}" for part in parts))
        for name in sorted(set(columns["label"]))
    ]
    return table(("class", *parts), rows)


def _procedure(run: Mapping[str, Any] | None) -> Iterator[str]:
    if run is None:
        yield _not_stated("how it was trained; `model_card(…, run_dir=…)` knows.")
        return
    yield (
        "By `train` of kerasresnet: first the exact linear head, if the recipe has a "
        "probe, then stage by stage from each first stage to the head."
    )
    if run.get("result", {}).get("undone"):
        yield (
            "No epoch of the stages improved on what was before, so that the model has "
            "the weights from before them."
        )
    chosen = run["recipe"]["decisions"]
    rows = [(each["name"], _value(each["value"]), each["reason"]) for each in chosen]
    yield table(("choice", "value", "why"), rows)
    facts = {
        "Seed": escaped(run["seed"]),
        "Computed in": escaped(run["computed_in"]),
        "Class weights": escaped(run["class_weight"] or "none"),
        "Sampling": escaped(run["sampling"] or "each photo once in an epoch"),
    }
    if "result" in run:
        facts["Time"] = format_duration(run["result"]["seconds"])
    yield _bullets(facts)


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _analyses(report: Report) -> Iterator[str]:
    rows = score_rows(report, report.intervals)
    yield table(("score", "value", "95 % interval"), rows)
    header = ("class", "precision", "recall", "95 % interval", "F1", "photos")
    yield table(header, class_rows(report.per_class))
    names = report.class_names
    if len(names) <= _MOST_IN_MATRIX:
        yield "How often photos of a class (rows) were called which (columns):"
        yield table(("", *names), matrix_rows(report))


def _judgement(report: Report) -> Iterator[str]:
    yield "## Ethical considerations"
    yield _not_stated(
        "whether photos show people or private things, whom mistakes would harm, and how."
    )
    yield "## Caveats and recommendations"
    few = [score for score in report.per_class if score.support < _FEW]
    if few:
        listed = ", ".join(
            f"{escaped(s.name)} ({s.support:,})" for s in few[:_MOST_NAMES]
        )
        yield (
            f"Of {count_of(len(few), 'class', 'classes')} there are fewer than {_FEW} "
            f"photos to evaluate on, so that their recall is hardly known: {listed}."
        )
    pairs = report.confused_pairs[:3]
    if pairs:
        listed = "; ".join(
            f"{escaped(p.label)} called {escaped(p.predicted)} ({p.count:,} of its photos, "
            f"{p.share:.0%})"
            for p in pairs
        )
        yield f"Most often confused: {listed}."
    yield _not_stated("what else a user should know or check before relying on it.")
