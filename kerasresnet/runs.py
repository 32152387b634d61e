"""The whole job in one call, and the folder that keeps its results."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerasresnet.artifacts import load
from kerasresnet.audit import Audit
from kerasresnet.building import build_classifier
from kerasresnet.catalogue import title
from kerasresnet.classifier import Classifier
from kerasresnet.diagrams import plot_confusion
from kerasresnet.disk import remove, write_aside
from kerasresnet.division import readable
from kerasresnet.durations import format_duration
from kerasresnet.errors import ArtifactError, DataError, count_of, listing
from kerasresnet.evaluation import Report, evaluate
from kerasresnet.extraction import Verbosity
from kerasresnet.galleries import plot_images, plot_predictions
from kerasresnet.images import ImageData
from kerasresnet.manifests import (
    MANIFEST,
    REPORT,
    begun_in,
    read_manifest,
)
from kerasresnet.notes import (
    Parts,
    RunSettings,
    changed_photos,
    divided,
    read_parts,
    read_settings,
    write_notes,
)
from kerasresnet.plots import plot_history
from kerasresnet.prediction import predict
from kerasresnet.tables import write_csv
from kerasresnet.trainer import RecipeChoice, train


def train_run(
    data: ImageData,
    folder: Path,
    settings: RunSettings,
    *,
    say: Callable[[str], None],
    source: Path | None = None,
    verbose: Verbosity = "auto",
) -> tuple[Classifier, Report]:
    """Splits, builds, trains, evaluates and writes everything down.

    Args:
        data: All labelled photos.
        folder: An empty folder for the results. It is gone again if the job fails before
            training.
        settings: How the run goes. Its seed becomes Keras's global one.
        say: Called with each line for the user.
        source: The folder or table that the photos are from, for the record.
        verbose: As in Keras.

    Returns:
        A tuple `(model, report)`; the report is on the part `test` if there is one, else
        on the held-out images.
    """
    with begun_in(folder):
        data = _checked(data, settings, say)
        parts = divided(data, settings)
        kept = f"{len(parts.held_out):,} held out"
        say(f"split: {count_of(len(parts.train), 'image')} to train on, {kept}")
        write_notes(folder, settings, parts, source)
        return Run(folder, settings, say, verbose).follow()


def resume_run(
    folder: Path, *, say: Callable[[str], None], verbose: Verbosity = "auto"
) -> tuple[Classifier, Report]:
    """Goes on with a run that was stopped, wherever that was.

    Args:
        folder: Folder of the run. Nothing else is needed.
        say: Called with each line for the user.
        verbose: As in Keras.

    Returns:
        As `train_run`.

    Raises:
        ArtifactError: If there is no run, or it is finished.
        DataError: If a photo of the run has changed.
    """
    settings, _ = read_settings(folder)
    changed = changed_photos(folder)
    if changed:
        raise DataError(
            f"The run in {folder} cannot go on: {listing(changed)}. Bring back what was "
            "there, or begin a new run in another folder."
        )
    for half in folder.glob("*.partial"):
        remove(half)  # what was being written when the run was killed
    run = Run(folder, settings, say, verbose)
    if not (folder / MANIFEST).exists():
        return run.follow()
    if not read_manifest(folder)["finished"]:
        return run.follow(resume=True)
    if (folder / REPORT).exists():
        raise ArtifactError(
            f"The run in {folder} is finished. There is nothing to go on with."
        )
    model = load(folder / "model.keras")
    return model, run.report(model, read_parts(folder), None)


@dataclass(frozen=True)
class Run:
    """The work in a folder, once `settings.json` and `split.csv` are in there.

    Args:
        folder: The folder.
        settings: How the run goes.
        say: Called with each line for the user.
        verbose: As in Keras.
    """

    folder: Path
    settings: RunSettings
    say: Callable[[str], None]
    verbose: Verbosity

    def follow(self, *, resume: bool = False) -> tuple[Classifier, Report]:
        """Does everything; returns model and report."""
        parts = read_parts(self.folder)
        model = self.build(parts.train.class_names)
        return model, self.train(model, parts, resume=resume)

    def build(self, class_names: Sequence[str]) -> Classifier:
        """Returns the model, the same in every process."""
        settings = self.settings
        # A run is an application: it may set the global seed, which decides the first
        # weights of the head.
        keras.utils.set_random_seed(settings.seed)
        model = build_classifier(
            class_names=class_names,
            backbone=settings.backbone,
            weights=settings.weights,
            input_shape=(settings.image_size, settings.image_size, 3),
            hidden_units=settings.hidden_units,
            dropout=settings.dropout,
        )
        trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        self.say(
            f"build: {title(settings.backbone)}"
            f"{' with random weights' if settings.weights is None else ''} for {settings.image_size} px, {model.count_params():,} "
            f"parameters, {trained:,} of them in the head"
        )
        return model

    def train(
        self,
        model: Classifier,
        parts: Parts,
        *,
        recipe: RecipeChoice = "auto",
        callbacks: Sequence[keras.callbacks.Callback] = (),
        resume: bool = False,
    ) -> Report:
        """Trains the model, and writes what came of it.

        Args:
            model: What `build` returned.
            parts: The images.
            recipe: `"auto"`, or one to follow instead of the settings.
            callbacks: Keras callbacks.
            resume: Whether the run has begun.
        """
        settings = self.settings
        chosen: dict[str, Any] = {}
        if recipe == "auto" and not resume:
            chosen = {**settings.overrides(), "time_budget": settings.time_budget}
        outcome = train(
            model,
            parts.train,
            parts.held_out,
            recipe=recipe,
            run_dir=self.folder,
            resume=resume,
            cache=settings.cache,
            precision=settings.precision,
            callbacks=callbacks,
            track=settings.track,
            seed=settings.seed,
            verbose=self.verbose,
            **chosen,
        )
        taken = format_duration(outcome.seconds)
        self.say(f"save: {self.folder / 'model.keras'}, after {taken}")
        return self.report(model, parts, outcome.report)

    def report(self, model: Classifier, parts: Parts, report: Report | None) -> Report:
        """Evaluates, and writes tables and figures, the report last of all.

        Args:
            model: The trained model.
            parts: The images.
            report: On the held-out images, if it is known.
        """
        if parts.tested:
            self.say("evaluate: the test images")
        else:
            self.say("evaluate: the held-out images, which chose the weights, too")
        if report is None or parts.tested:
            report = evaluate(model, parts.scored)
        history = read_manifest(self.folder)["result"]["history"]
        if any(history.values()):
            _write_history(self.folder / "history.csv", history)
            figure = plot_history(history)
            figure.savefig(self.folder / "history.png", dpi=120)
        _draw(parts, model, self.folder)
        write_report(self.folder, report)
        return report


def _checked(
    data: ImageData, settings: RunSettings, say: Callable[[str], None]
) -> ImageData:
    """Tells what is wrong with the images; leaves out what cannot be read if asked to."""
    found, data = len(data), readable(data, settings.on_error)
    audit = data.check()
    if audit.unreadable:
        raise DataError(
            f"{audit.unreadable[0][1]} {len(audit.unreadable):,} of {len(data):,} images "
            "cannot be read: `kerasresnet check` lists them. Repair or remove them, or "
            "leave them out with --on-error skip."
        )
    if audit.obstacles:
        rest = (
            " of a second class"
            if len(audit.counts) == 1
            else ", or leave such classes out"
        )
        raise DataError(
            f"Training cannot start. {'. '.join(audit.obstacles)}. Add photos{rest}."
        )
    others = "every other image" if len(data) < found else "every image"
    say(f"check: {_findings(audit) or others + ' can be read'}")
    return data


def _findings(audit: Audit) -> str:
    """What may spoil the result, but does not stop training."""
    same = "groups of images that are the same"
    findings = [
        f"{what}: {len(found):,}"
        for what, found in (
            (f"{same} with different labels", audit.label_conflicts),
            (f"{same} in different parts", audit.leaks),
            ("images of one colour", audit.blank),
        )
        if found
    ]
    return "; ".join(findings) + ". kerasresnet check lists them" if findings else ""


# What came of it ------------------------------------------------------------------------


def _draw(parts: Parts, model: Classifier, folder: Path) -> None:
    plot_images(parts.train).savefig(folder / "images.png", dpi=120)
    some = parts.scored.take(9)
    names = None if some.labels is None else [some.class_names[i] for i in some.labels]
    figure = plot_predictions(predict(model, some), labels=names)
    figure.savefig(folder / "predictions.png", dpi=120)


def write_report(folder: Path, report: Report) -> None:
    """Writes `confusion.png`, `mistakes.csv` and at last `report.txt` into a folder."""
    plot_confusion(report).savefig(folder / "confusion.png", dpi=120)
    found = report.mistakes
    columns = {
        "source": [m.source for m in found],
        "label": [m.label for m in found],
        "predicted": [m.predicted for m in found],
        "probability": [f"{m.probability:.4f}" for m in found],
    }
    write_csv(folder / "mistakes.csv", columns)
    write_aside(folder / REPORT, lambda file: file.write(f"{report}\n".encode()))


def _write_history(path: Path, history: Mapping[str, Sequence[float]]) -> None:
    epochs = max(map(len, history.values()), default=0)
    write_csv(path, {"epoch": range(1, epochs + 1), **history})
