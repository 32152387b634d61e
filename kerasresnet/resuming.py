"""How a run begins in its folder, goes on there, and ends."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kerasresnet.checkpoints import Checkpoints
from kerasresnet.classifier import Classifier
from kerasresnet.disk import remove
from kerasresnet.errors import ArtifactError
from kerasresnet.manifests import (
    check_same,
    empty_folder,
    read_manifest,
    versions,
    write_manifest,
)
from kerasresnet.recipes import Recipe
from kerasresnet.rules import Decision


def folder_of(run_dir: str | Path | None, *, resume: bool) -> Path | None:
    """Returns the folder of a run, ready to be written to, or None if it has none.

    Args:
        run_dir: As in `train`.
        resume: As in `train`.

    Raises:
        DataError: If a run is to begin in a folder that is not empty.
        ValueError: If a run without a folder is to go on.
    """
    if run_dir is None:
        if resume:
            raise ValueError(
                "resume=True needs run_dir, the folder of the run; received run_dir=None."
            )
        return None
    folder = Path(run_dir)
    if not resume:
        return empty_folder(folder)
    for left in folder.glob("*.partial"):  # by a kill while it was written
        remove(left)
    return folder


def begin(
    folder: Path,
    record: Mapping[str, Any],
    recipe: Recipe,
    budget: float | None,
    asked: Mapping[str, Any],
) -> None:
    """Writes what a run is, before anything is trained.

    Args:
        folder: Folder of the run.
        record: What must be the same for it to go on.
        recipe: What it follows.
        budget: Its time, in seconds, or None.
        asked: Choices of the user's, which the recipe keeps.
    """
    chosen = {"recipe": asdict(recipe), "time_budget": budget, "asked": asked}
    state = {"versions": versions(), "finished": False}
    write_manifest(folder, {**record, **chosen, **state})


def unfinished(
    folder: Path,
    record: Mapping[str, Any],
    recipe: Any,
    budget: float | None,
    asked: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the manifest of a run that can go on.

    Args:
        folder: Folder of the run.
        record: What must be the same as when it began.
        recipe: As in `train`, now. What is left out is as it was.
        budget: The time that is given now, in seconds, or None.
        asked: The choices that are given now.

    Raises:
        ArtifactError: If there is no run, it is finished, or it is another one.
    """
    manifest = read_manifest(folder)
    if manifest["finished"]:
        model = str(folder / "model.keras")
        raise ArtifactError(
            f"The run in {folder} is finished, and there is nothing to go on with. "
            f"kr.load({model!r}) loads its model."
        )
    check_same(folder, manifest, record)
    now = dict(asked)
    if isinstance(recipe, Recipe):
        now["recipe"] = asdict(recipe)
    if budget is not None:
        now["time_budget"] = budget
    check_same(folder, {**manifest, **manifest.get("asked", {})}, now)
    return manifest


def finish(folder: Path, model: Classifier, result: Mapping[str, Any]) -> None:
    """Writes the trained model and what came of the run.

    Args:
        folder: Folder of the run.
        model: The trained model.
        result: What came of it, as JSON holds it.
    """
    aside = folder / "model.partial.keras"
    model.save(aside)
    aside.replace(folder / "model.keras")
    ended = {"result": result, "finished": True}
    write_manifest(folder, {**read_manifest(folder), **ended})
    Checkpoints(folder).clear()


def recipe_of(record: Mapping[str, Any]) -> Recipe:
    """Returns the recipe that a manifest holds.

    Args:
        record: Its entry `"recipe"`.
    """
    values = _with_tuples(record)
    decisions = [Decision(**_with_tuples(each)) for each in record["decisions"]]
    return Recipe(**{**values, "decisions": tuple(decisions)})


def _with_tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON had tuples in before it made lists of them."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.items()
    }
