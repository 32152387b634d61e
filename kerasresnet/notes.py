"""How a run is called, and on which photos: two files in its folder, before all else.

With them a run can go on, and be done again.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerasresnet.augmentation import Preset
from kerasresnet.backbones import TrainableStage
from kerasresnet.caching import Cache
from kerasresnet.disk import write_aside
from kerasresnet.division import OnError
from kerasresnet.errors import ArtifactError, DataError, listing
from kerasresnet.images import ImageData
from kerasresnet.index import digests
from kerasresnet.manifests import MANIFEST, SETTINGS, SPLIT, read_manifest
from kerasresnet.pixels import content_digests
from kerasresnet.precision import Precision
from kerasresnet.schedules import Schedule
from kerasresnet.tables import read_csv, write_csv
from kerasresnet.trackers import TrackerName

# What a choice of the recipe is called in a recipe.
_RECIPE_NAMES = {
    "from_stage": "stages",
    "epochs": "epochs",
    "learning_rate": "learning_rates",
    "layer_decay": "layer_decay",
    "batch_size": "batch_size",
    "schedule": "schedule",
    "warmup": "warmup",
    "augmentation": "augmentation",
    "views": "views",
    "label_smoothing": "label_smoothing",
}
_DIGEST_COLUMN = "digest"


@dataclass(frozen=True)
class RunSettings:
    """How a run is called. What is None is chosen by the recipe.

    Args:
        backbone: As in `build_classifier`.
        weights: As in `build_classifier`.
        image_size: Height and width, in px.
        validation: Share of the images held out.
        hidden_units: Widths of Dense layers before the last one.
        dropout: Share of values dropped before each Dense layer.
        from_stage: First stages to train, one after another; `()` for the head alone.
        epochs: Number of passes for each stage, or one for all.
        learning_rate: The head's peak rate for each stage, or one for all.
        layer_decay: As in `Recipe`, like all down to `label_smoothing`.
        batch_size: Images in a batch.
        schedule: How the rate changes in a stage.
        warmup: Share of a stage's steps in which the rate rises at first.
        augmentation: Preset by which training images are varied.
        views: Views of each image that are computed once.
        label_smoothing: Share of the label that is spread over all classes.
        time_budget: As in `train`; None for no limit.
        precision: As in `fit`.
        cache: Where features are kept, as in `fit`.
        on_error: What becomes of photos that cannot be read, as in `fit`.
        seed: Decides split, order, views and the head's first weights.
        track: Where the run is followed, as in `train`.
    """

    backbone: str = "resnet50"
    weights: str | None = "imagenet"
    image_size: int = 224
    validation: float = 0.2
    hidden_units: tuple[int, ...] = ()
    dropout: float = 0.0
    from_stage: tuple[TrainableStage, ...] | None = None
    epochs: tuple[int, ...] | None = None
    learning_rate: tuple[float, ...] | None = None
    layer_decay: float | None = None
    batch_size: int | None = None
    schedule: Schedule | None = None
    warmup: float | None = None
    augmentation: Preset | None = None
    views: int | None = None
    label_smoothing: float | None = None
    time_budget: str | None = None
    precision: Precision = "auto"
    cache: Cache = "auto"
    on_error: OnError = "raise"
    seed: int = 0
    track: TrackerName | None = None

    def overrides(self) -> dict[str, Any]:
        """Returns what is not left to the recipe, under the recipe's names."""
        given = {new: getattr(self, old) for old, new in _RECIPE_NAMES.items()}
        for name in ("epochs", "learning_rates"):
            if given[name] is not None and len(given[name]) == 1:
                given[name] = given[name][0]  # for all stages
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Parts:
    """The images of a run.

    Args:
        train: Those to train on.
        held_out: Those that choose the best epoch.
        scored: Those to report on: the part `test` if there is one, else `held_out`.
    """

    train: ImageData
    held_out: ImageData
    scored: ImageData

    @property
    def tested(self) -> bool:
        """Whether there are images that took no part in any choice."""
        return self.scored is not self.held_out


def write_notes(
    folder: Path, settings: RunSettings, parts: Parts, source: Path | str | None
) -> None:
    """Writes how a run is called, and on which photos: `settings.json` and `split.csv`.

    Args:
        folder: Folder of the run.
        settings: How it is called.
        parts: The photos.
        source: The folder or table that they are from.
    """
    named = {"train": parts.train, "validation": parts.held_out}
    if parts.tested:
        named["test"] = parts.scored
    data = ImageData.combine(**named)
    data.to_csv(folder / SPLIT)
    columns = {**read_csv(folder / SPLIT), _DIGEST_COLUMN: content_digests(data)}
    write_csv(folder / SPLIT, columns)
    record = {"data": source, "settings": asdict(settings)}
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    # The last of the notes: where it is, the run can go on.
    write_aside(folder / SETTINGS, lambda file: file.write(f"{text}\n".encode()))


def read_settings(folder: Path) -> tuple[RunSettings, str | None]:
    """Returns how a run was called, and the folder or table that its photos are from.

    Raises:
        ArtifactError: If that is not there, or damaged.
    """
    file = folder / SETTINGS
    try:
        record = json.loads(file.read_text("utf-8"))
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record["settings"].items()
        }
        return RunSettings(**given), record["data"]
    except FileNotFoundError:
        raise ArtifactError(
            f"There is no run in {folder}: {SETTINGS} is missing. Expected the folder of a "
            "run of kerasresnet train."
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(
            f"{file} is damaged, or of another version of kerasresnet: {error}."
        ) from error


def read_parts(folder: Path) -> Parts:
    """Returns the images of a run, as `split.csv` divides them."""
    names = None
    if (folder / MANIFEST).exists():
        names = read_manifest(folder)["class_names"]
    return divided(ImageData.from_csv(folder / SPLIT, class_names=names), None)


def changed_photos(folder: Path) -> list[str]:
    """Returns a line for each photo of a run that is gone or has another content now.

    Args:
        folder: Folder of the run.

    Raises:
        ArtifactError: If the photos of the run are not known.
        DataError: If `split.csv` cannot be read.
    """
    columns = read_csv(folder / SPLIT)
    if not {"image_path", _DIGEST_COLUMN} <= columns.keys():
        raise ArtifactError(
            f"{folder / SPLIT} is damaged: expected columns image_path and "
            f"{_DIGEST_COLUMN}, received {listing(columns)}."
        )
    paths = [folder / name for name in columns["image_path"]]
    return [
        f"{path} has changed" if isinstance(now, str) else str(now).rstrip(".")
        for path, then, now in zip(
            paths, columns[_DIGEST_COLUMN], digests(paths), strict=True
        )
        if now != then
    ]


def divided(data: ImageData, settings: RunSettings | None) -> Parts:
    """The images in their parts, or those that the settings divide them into."""
    if data.parts is None and settings is not None:
        train, held_out = data.split(settings.validation, seed=settings.seed)
        return Parts(train, held_out, held_out)
    parts = {part.parts[0]: part for part in data.split() if part.parts}
    if "train" not in parts or not parts.keys() & {"validation", "test"}:
        raise DataError(
            f"The images are divided into {listing(parts)}; expected a part 'train' and a "
            "part 'validation' or 'test'."
        )
    held_out = parts["validation" if "validation" in parts else "test"]
    return Parts(parts["train"], held_out, parts.get("test", held_out))
