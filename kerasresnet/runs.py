"""The whole job in one call, and the folder that keeps its results."""

import csv
import json
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasresnet._version import __version__
from kerasresnet.augmentation import Augmentation, Preset
from kerasresnet.backbones import TrainableStage
from kerasresnet.caching import Cache
from kerasresnet.classifier import Classifier, build_classifier
from kerasresnet.division import OnError, readable
from kerasresnet.errors import DataError, listing
from kerasresnet.evaluation import Report, evaluate
from kerasresnet.extraction import Verbosity
from kerasresnet.images import ImageData
from kerasresnet.plots import (
    plot_confusion,
    plot_history,
    plot_images,
    plot_predictions,
)
from kerasresnet.precision import Precision
from kerasresnet.prediction import predict
from kerasresnet.training import fine_tune, fit


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides how a run goes.

    Args:
        weights: As in `build_classifier`.
        image_size: Height and width, in px.
        validation: Share of the images held out for the report.
        epochs: Epochs for the head.
        fine_tune_epochs: Epochs from `from_stage` onwards; 0 leaves them out.
        from_stage: First stage to fine-tune.
        batch_size: Images in a batch.
        learning_rate: Rate for the head.
        fine_tune_rate: Rate for fine-tuning.
        hidden_units: Widths of Dense layers before the last one.
        dropout: Share of values dropped before each Dense layer.
        augmentation: Preset by which training images are varied, `"none"` for not at all.
        views: Views of each image that are computed once, if it is varied; None for new
            ones in each epoch.
        precision: As in `fit`.
        cache: Where features are kept, as in `fit`.
        on_error: What becomes of photos that cannot be read, as in `fit`.
        seed: Decides split, order, views and the head's first weights.
    """

    weights: str | None = "imagenet"
    image_size: int = 224
    validation: float = 0.2
    epochs: int = 10
    fine_tune_epochs: int = 5
    from_stage: TrainableStage = "conv5"
    batch_size: int = 32
    learning_rate: float = 1e-3
    fine_tune_rate: float = 1e-4
    hidden_units: tuple[int, ...] = ()
    dropout: float = 0.0
    augmentation: Preset = "none"
    views: int | None = None
    precision: Precision = "auto"
    cache: Cache = "auto"
    on_error: OnError = "raise"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.views is not None and self.augmentation == "none":
            raise ValueError(
                f"views={self.views} is a number of random views, but images are not varied. "
                "Turn augmentation on (--augmentation light), too."
            )


def new_folder(parent: Path, name: str) -> Path:
    """Makes the first of `name-1`, `name-2`, … that does not exist yet."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"{name}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def empty_folder(folder: Path) -> Path:
    """Makes a folder, or takes an empty one; refuses one that holds anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} exists and is not empty. Choose another folder for the run."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def train_run(
    data: ImageData,
    folder: Path,
    settings: RunSettings,
    *,
    say: Callable[[str], None],
    verbose: Verbosity = "auto",
) -> tuple[Classifier, Report]:
    """Splits, builds, trains, fine-tunes, evaluates and writes everything down.

    Args:
        data: All labelled photos.
        folder: Where the results go.
        settings: How the run goes.
        say: Called with each line for the user.
        verbose: As in Keras.

    Returns:
        A tuple `(model, report)`; the report is on the held-out images.
    """
    data = _checked(data, settings, say)
    train, held_out, scored = _divided(data, settings)
    say(f"split: {len(train):,} images to train on, {len(held_out):,} held out")
    model = _build(data.class_names, settings, say)
    _write_settings(folder / "settings.json", settings, data)
    test = {} if scored is held_out else {"test": scored}
    parts = ImageData.combine(train=train, validation=held_out, **test)
    parts.to_csv(folder / "split.csv")
    shared: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "augmentation": Augmentation.preset(
            settings.augmentation, views=settings.views
        ),
        "precision": settings.precision,
        "cache": settings.cache,
        "seed": settings.seed,
        "verbose": verbose,
        "callbacks": [_SaveEachEpoch(folder / "model.keras")],
    }
    say(f"train: the head, {settings.epochs} epochs; the backbone is frozen")
    histories = [
        fit(
            model,
            train,
            held_out,
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            **shared,
        )
    ]
    _write_history(folder / "history.csv", histories)
    if settings.fine_tune_epochs:
        say(
            f"fine-tune: from {settings.from_stage}, {settings.fine_tune_epochs} epochs"
        )
        histories.append(
            fine_tune(
                model,
                train,
                held_out,
                from_stage=settings.from_stage,
                epochs=settings.fine_tune_epochs,
                learning_rate=settings.fine_tune_rate,
                **shared,
            )
        )
        _write_history(folder / "history.csv", histories)
    say(f"save: {folder / 'model.keras'}")
    say(f"evaluate: the {'held-out' if scored is held_out else 'test'} images")
    report = evaluate(model, scored, batch_size=settings.batch_size)
    write_report(folder, report)
    _draw(train, scored, histories, model, folder)
    return model, report


def _checked(
    data: ImageData, settings: RunSettings, say: Callable[[str], None]
) -> ImageData:
    """Tells what is wrong with the images, and leaves out what cannot be read if asked to."""
    data = readable(data, settings.on_error)
    audit = data.check()
    if audit.unreadable:
        raise DataError(
            f"{audit.unreadable[0][1]} {len(audit.unreadable):,} of {len(data):,} images "
            "cannot be read: `kerasresnet check` lists them. Repair or remove them, or "
            "leave them out with on_error='skip' (--on-error skip)."
        )
    findings = [
        f"{what}: {len(found):,}"
        for what, found in (
            (
                "groups of images that are the same with different labels",
                audit.label_conflicts,
            ),
            ("groups of images that are the same in different parts", audit.leaks),
            ("images of one colour", audit.blank),
        )
        if found
    ]
    said = "; ".join(findings) + ". kerasresnet check lists them" if findings else "every image can be read"  # fmt: skip
    say(f"check: {said}")
    return data


def _divided(
    data: ImageData, settings: RunSettings
) -> tuple[ImageData, ImageData, ImageData]:
    """The images to train on, to validate on, and to report on."""
    if data.parts is None:
        train, held_out = data.split(settings.validation, seed=settings.seed)
        return train, held_out, held_out
    parts = {part.parts[0]: part for part in data.split() if part.parts}
    if "train" not in parts or not parts.keys() & {"validation", "test"}:
        raise DataError(
            f"The images are divided into {listing(parts)}; expected a part 'train' and a "
            "part 'validation' or 'test'."
        )
    held_out = parts["validation" if "validation" in parts else "test"]
    return parts["train"], held_out, parts.get("test", held_out)


def _draw(
    train: ImageData,
    held_out: ImageData,
    histories: Sequence[keras.callbacks.History],
    model: Classifier,
    folder: Path,
) -> None:
    plot_images(train).savefig(folder / "images.png", dpi=120)
    plot_history(*histories).savefig(folder / "history.png", dpi=120)
    some = predict(model, held_out.take(9))
    plot_predictions(some).savefig(folder / "predictions.png", dpi=120)


def _build(
    class_names: tuple[str, ...], settings: RunSettings, say: Callable[[str], None]
) -> Classifier:
    model = build_classifier(
        class_names=class_names,
        weights=settings.weights,
        input_shape=(settings.image_size, settings.image_size, 3),
        hidden_units=settings.hidden_units,
        dropout=settings.dropout,
    )
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    say(
        f"build: ResNet50 for {settings.image_size} px, {model.count_params():,} "
        f"parameters, {trained:,} of them in the head"
    )
    return model


class _SaveEachEpoch(keras.callbacks.Callback):
    """Keeps the model of the last whole epoch, also if the run is stopped.

    Written aside and renamed: a stop in the middle leaves the file before.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        aside = self._path.with_name("model.partial.keras")
        self.model.save(aside)
        aside.replace(self._path)


def write_report(folder: Path, report: Report) -> None:
    """Writes `report.txt`, `mistakes.csv` and `confusion.png` into a folder."""
    (folder / "report.txt").write_text(f"{report}\n", "utf-8")
    rows = [
        (m.source, m.label, m.predicted, f"{m.probability:.4f}")
        for m in report.mistakes
    ]
    _write_csv(
        folder / "mistakes.csv", ("source", "label", "predicted", "probability"), rows
    )
    plot_confusion(report).savefig(folder / "confusion.png", dpi=120)


def _write_settings(path: Path, settings: RunSettings, data: ImageData) -> None:
    record = {
        "settings": asdict(settings),
        "class_names": data.class_names,
        "counts": data.counts(),
        "versions": {
            "kerasresnet": __version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    path.write_text(
        json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n", "utf-8"
    )


def _write_history(path: Path, histories: Sequence[keras.callbacks.History]) -> None:
    names = list(histories[0].history)
    rows = [
        row
        for history in histories
        for row in zip(*(history.history[name] for name in names), strict=True)
    ]
    numbered = [(epoch, *row) for epoch, row in enumerate(rows, 1)]
    _write_csv(path, ("epoch", *names), numbered)


def _write_csv(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
