"""All that is known of a run on one page: what was kept of it, and what it is worth now.

The run itself is not changed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kerasresnet.artifacts import load
from kerasresnet.classifier import Classifier
from kerasresnet.durations import format_duration
from kerasresnet.errors import ArtifactError, DataError, WeightsError, count_of, listing
from kerasresnet.evaluation import evaluate
from kerasresnet.extraction import Verbosity
from kerasresnet.images import ImageData
from kerasresnet.labelling import LabelIssues, label_issues
from kerasresnet.manifests import MANIFEST, SPLIT, read_manifest
from kerasresnet.notes import (
    Parts,
    RunSettings,
    changed_photos,
    read_parts,
    read_settings,
)
from kerasresnet.reporting import write_page
from kerasresnet.runs import Run
from kerasresnet.sections import Contents
from kerasresnet.summaries import between, percent
from kerasresnet.twins import trunk_digest

PAGE = "report.html"
_NEEDED = {
    "class_names",
    "computed_in",
    "finished",
    "recipe",
    "result",
    "versions",
    "weights",
}


def report_run(
    folder: Path,
    out: Path | None = None,
    *,
    say: Callable[[str], None],
    verbose: Verbosity = "auto",
) -> Path:
    """Writes a page on a finished run of `kerasresnet train`.

    Args:
        folder: Folder of the run.
        out: The page, replaced if there is one. Defaults to `report.html` in the folder.
        say: Called with each line for the user.
        verbose: As in Keras.

    Returns:
        Where the page is.

    Raises:
        ArtifactError: If there is no run, it has not ended, or its model is gone.
        DataError: If photos of the run have changed or are gone, or the page cannot be
            where it is to be.
    """
    out = _checked(folder / PAGE if out is None else out)
    run = _finished(folder, say, verbose)
    parts, model = read_parts(folder), run.model()
    say(f"check: {count_of(len(run.photos), 'photo')}")
    audit = run.photos.check()
    say(f"evaluate: {_scored(parts)}")
    report = evaluate(model, parts.scored)
    found = run.issues(model)
    say(f"draw: {count_of(len(report), 'photo')}")
    contents = Contents(
        f"Report on {Path(run.source or folder.resolve()).name}",
        note=f"Scored are {_scored(parts)}.{_undone(run)}",
        history=run.manifest["result"]["history"],
        audit=audit,
        label_issues=found,
        settings=dict(_settings(run, parts)),
    )
    write_page(report, out, contents, model=model)
    return out


@dataclass(frozen=True)
class _FinishedRun:
    """What a folder holds of a run that has ended.

    Args:
        folder: The folder.
        settings: How it was called.
        source: The folder or table that its photos are from, if that is known.
        manifest: What it was, and what came of it.
        photos: All of them, with their parts.
        say: Called with each line for the user.
        verbose: As in Keras.
    """

    folder: Path
    settings: RunSettings
    source: str | None
    manifest: Mapping[str, Any]
    photos: ImageData
    say: Callable[[str], None]
    verbose: Verbosity

    def model(self) -> Classifier:
        """Returns what was trained."""
        file = self.folder / "model.keras"
        if not file.exists():
            raise ArtifactError(
                f"The run in {self.folder} has no model any more: {file.name} is missing. "
                f"Bring it back, or train it again: kerasresnet reproduce {self.folder} "
                "--out DIR."
            )
        return load(file)

    def issues(self, model: Classifier) -> LabelIssues | None:
        """Returns the labels that look wrong, or None, said, if that cannot be told."""
        self.say(
            f"labels: each of {count_of(len(self.photos), 'photo')} is asked of a head that "
            "has not seen it"
        )
        try:
            return label_issues(
                self._untrained(model),
                replace(self.photos, parts=None),
                cache=self.settings.cache,
                precision=self.settings.precision,
                seed=self.settings.seed,
                verbose=self.verbose,
            )
        except (ArtifactError, DataError, WeightsError) as error:
            self.say(f"labels: left out of the page. {error}")
            return None

    def _untrained(self, model: Classifier) -> Classifier:
        """A network that has not learned these labels, wrong ones among them."""
        if trunk_digest(model, "avg_pool") == self.manifest["weights"]:
            return model
        run = Run(self.folder, self.settings, lambda line: None, self.verbose)
        first = run.build(self.manifest["class_names"])
        if trunk_digest(first, "avg_pool") != self.manifest["weights"]:
            raise ArtifactError(
                "The network that the run began with cannot be made again: its weights "
                "are others now."
            )
        return first


def _checked(out: Path) -> Path:
    """Where the page will be, before anything slow is done for it."""
    if out.is_dir():
        raise DataError(f"{out} is a folder. Expected the name of a file for the page.")
    if not out.absolute().parent.is_dir():
        raise DataError(f"There is no folder {out.parent} to write the page into.")
    return out


def _finished(
    folder: Path, say: Callable[[str], None], verbose: Verbosity
) -> _FinishedRun:
    settings, source = read_settings(folder)
    if not (folder / MANIFEST).exists() or not read_manifest(folder).get("finished"):
        raise ArtifactError(
            f"The run in {folder} has not ended. To go on with it: kerasresnet train --out "
            f"{folder} --resume."
        )
    manifest = read_manifest(folder)
    missing = sorted(_NEEDED - manifest.keys())
    if missing:
        raise ArtifactError(
            f"{folder / MANIFEST} is damaged: expected entries {listing(missing)}."
        )
    changed = changed_photos(folder)
    if changed:
        raise DataError(
            f"The photos of the run in {folder} are not what they were: {listing(changed)}. "
            "Bring them back. On other photos, kerasresnet evaluate scores the model."
        )
    photos = ImageData.from_csv(folder / SPLIT, class_names=manifest["class_names"])
    return _FinishedRun(folder, settings, source, manifest, photos, say, verbose)


def _undone(run: _FinishedRun) -> str:
    if not run.manifest["result"].get("undone"):
        return ""
    return (
        " No epoch of training improved on what was before: the model has the weights from "
        "before the curves below."
    )


def _scored(parts: Parts) -> str:
    """Which images the numbers are of, and what that means."""
    images = count_of(len(parts.scored), "image")
    if parts.tested:
        return f"the {images} of the part 'test', which took no part in any choice"
    return (
        f"the {images} held out, which chose the best epoch, too: the numbers flatter a "
        "little"
    )


def _settings(run: _FinishedRun, parts: Parts) -> Iterator[tuple[str, str]]:
    """How the model was made, name and value."""
    result, recipe = run.manifest["result"], run.manifest["recipe"]
    yield "run", str(run.folder.resolve())
    yield "photos", "unknown" if run.source is None else run.source
    for part, number in Counter(run.photos.parts or ()).items():
        yield f"photos, {part}", f"{number:,}"
    yield (
        "accuracy at the end of training",
        f"{percent(result['accuracy'])} of {count_of(len(parts.held_out), 'image')} held "
        f"out (95 % interval {between(tuple(result['interval']))})",
    )
    yield "time", format_duration(result["seconds"])
    yield "computed in", str(run.manifest["computed_in"])
    for each in recipe["decisions"]:
        name = each["name"].replace("_", " ")
        yield f"recipe: {name}", f"{_text(each['value'])}. {each['reason']}"
    for name, value in asdict(run.settings).items():
        if value is not None:
            yield f"setting: {name.replace('_', ' ')}", _text(value)
    for name, version in run.manifest["versions"].items():
        yield f"version of {name}", str(version)


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
