"""A run that is done again, to see whether it comes to the same."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasresnet.artifacts import load
from kerasresnet.classifier import Classifier
from kerasresnet.errors import ArtifactError
from kerasresnet.extraction import Verbosity
from kerasresnet.jobs import HEAD_EPOCHS
from kerasresnet.manifests import data_digest, read_manifest, versions
from kerasresnet.notes import (
    Parts,
    changed_photos,
    read_parts,
    read_settings,
    write_notes,
)
from kerasresnet.recipes import Recipe
from kerasresnet.resuming import recipe_of
from kerasresnet.runs import Run
from kerasresnet.twins import trunk_digest

_MOST_LINES = 10


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side. `print` shows them.

    Args:
        rows: For each subject its name, how it was then, how it is now, and the
            difference, or `"none"`.
        same: Whether history, accuracy and weights are equal, bit for bit.
    """

    rows: tuple[tuple[str, ...], ...]
    same: bool

    def __str__(self) -> str:
        table = [("", "then", "now", "difference"), *self.rows]
        widths = [max(len(row[n]) for row in table) for n in range(3)]
        lines = []
        for row in table:
            cells = [
                cell.ljust(width) for cell, width in zip(row, widths, strict=False)
            ]
            lines.append("  ".join([*cells, row[3]]).rstrip())
        return "\n".join(lines)


def reproduce_run(
    run: Path,
    folder: Path,
    *,
    say: Callable[[str], None],
    verbose: Verbosity = "auto",
) -> bool:
    """Does a run again, with the same photos, weights, settings and recipe, and compares.

    Args:
        run: Folder of a finished run of `kerasresnet train`. It is not changed.
        folder: An empty folder for the second run. Features are kept in the user's cache
            folder, which the caller may put elsewhere to have them computed anew.
        say: Called with each line for the user.
        verbose: As in Keras.

    Returns:
        Whether both come to the same, bit for bit. Where photos, split or first weights
        are not what they were, that is said and nothing is trained.

    Raises:
        ArtifactError: If the run is not finished, not of the command line, or damaged.
    """
    settings, source = read_settings(run)
    then = _finished(run)
    others = _other_versions(then)
    for name, was, is_, _ in others:
        say(f"{name}: {was} then, {is_} now")
    changed = changed_photos(run)
    if changed:
        return _refuse(say, changed)
    parts = read_parts(run)
    # "auto" might come to other numbers on this machine. A folder of features is left
    # alone: what it holds is what is to be computed again.
    cache = settings.cache if settings.cache in ("memory", False) else "auto"
    settings = replace(settings, precision=then["computed_in"], cache=cache)
    settings = replace(settings, track=None)  # the record is of the run, not of this
    again = Run(folder, settings, say, verbose)
    model = again.build(then["class_names"])
    obstacles = _obstacles(then, parts, model)
    if obstacles:
        return _refuse(say, obstacles)
    write_notes(folder, settings, parts, source)
    recipe, callbacks = _as_far(then)
    if callbacks:
        say("The time budget ended that run early: this one ends after the same epoch.")
    again.train(model, parts, recipe=recipe, callbacks=callbacks)
    found = compare_runs(run, folder)
    say(f"\n{replace(found, rows=(*found.rows, *others))}\n")
    say(f"verdict: {'the same, bit for bit' if found.same else 'not the same'}")
    return found.same


def compare_runs(then: Path, now: Path) -> Comparison:
    """Compares what two runs came to.

    Args:
        then: Folder of a finished run.
        now: Folder of another.

    Raises:
        ArtifactError: If one of them holds no finished run.
    """
    results = [_finished(folder)["result"] for folder in (then, now)]
    weights = [load(folder / "model.keras").get_weights() for folder in (then, now)]
    histories = [result["history"] for result in results]
    accuracies = [result["accuracy"] for result in results]
    gaps = (
        _gap([np.array(accuracies[0])], [np.array(accuracies[1])]),
        _history_gap(*histories),
        _gap(*weights),
    )
    shown = (
        ("accuracy", [f"{value:.1%}" for value in accuracies]),
        ("history", [f"{_epochs(history)} epochs" for history in histories]),
        ("weights", [_fingerprint(arrays) for arrays in weights]),
    )
    rows = [(what, *pair, gap) for (what, pair), gap in zip(shown, gaps, strict=True)]
    return Comparison(tuple(rows), all(gap == "none" for gap in gaps))


def _finished(run: Path) -> dict[str, Any]:
    manifest = read_manifest(run)
    if not manifest["finished"]:
        raise ArtifactError(
            f"The run in {run} is not finished. kerasresnet train --out {run} --resume "
            "goes on with it."
        )
    return manifest


@contextmanager
def fresh_cache(folder: Path) -> Iterator[None]:
    """Lets everything be computed anew: nothing is known of any photo.

    Args:
        folder: An empty folder, or none yet, where features are kept meanwhile.
    """
    variable = "KERASRESNET_CACHE"
    before = os.environ.get(variable)
    os.environ[variable] = str(folder)
    try:
        yield
    finally:
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before


def _refuse(say: Callable[[str], None], reasons: Sequence[str]) -> bool:
    for line in reasons[:_MOST_LINES]:
        say(f"  {line}")
    if len(reasons) > _MOST_LINES:
        say(f"  and {len(reasons) - _MOST_LINES:,} more")
    say("verdict: it cannot come to the same, and was not trained again")
    return False


def _other_versions(then: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (name, str(then["versions"].get(name)), now, "another version")
        for name, now in versions().items()
        if then["versions"].get(name) != now
    ]


def _obstacles(then: Mapping[str, Any], parts: Parts, model: Classifier) -> list[str]:
    """What differs before anything is trained."""
    now = {
        "train": data_digest(parts.train),
        "validation": data_digest(parts.held_out),
        "weights": trunk_digest(model, "avg_pool"),
    }
    texts = {
        "train": "split.csv has other training photos or labels than the run had",
        "validation": "split.csv has other held-out photos or labels than the run had",
        "weights": "the network begins with other weights than then",
    }
    return [texts[name] for name, value in now.items() if then[name] != value]


class _StopAfter(keras.callbacks.Callback):
    """Ends training after so many epochs, in the middle of a schedule."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops after the last."""
        del logs
        if epoch + 1 >= self._epochs:
            self.model.stop_training = True


def _as_far(
    then: Mapping[str, Any],
) -> tuple[Recipe, list[keras.callbacks.Callback]]:
    """The recipe of a run, as far as its time budget let it come."""
    recipe = recipe_of(then["recipe"])
    done = _epochs(then["result"]["history"])
    head = HEAD_EPOCHS if then["head"][0] else 0
    *starts, planned = accumulate(recipe.epochs, initial=head)
    # Runs of older versions do not say it.
    early = then["time_budget"] is not None and done < planned
    if not then["result"].get("stopped", early):
        return recipe, []
    count = sum(start < done for start in starts)
    kept = {
        name: getattr(recipe, name)[:count]
        for name in ("stages", "epochs", "learning_rates")
    }
    return replace(recipe, **kept), [_StopAfter(done)]


def _epochs(history: Mapping[str, Sequence[float]]) -> int:
    return max((len(values) for values in history.values()), default=0)


def _history_gap(
    then: Mapping[str, Sequence[float]], now: Mapping[str, Sequence[float]]
) -> str:
    if then.keys() != now.keys():
        return "other metrics"
    return _gap(*([np.array(each[name]) for name in then] for each in (then, now)))


def _gap(then: Sequence[Any], now: Sequence[Any]) -> str:
    """The largest difference between two lists of arrays, as text."""
    if [each.shape for each in then] != [each.shape for each in now]:
        return "other lengths"
    pairs = list(zip(then, now, strict=True))
    if all(np.array_equal(one, other, equal_nan=True) for one, other in pairs):
        return "none"
    gaps = [np.abs(one - other).max(initial=0.0) for one, other in pairs]
    return f"up to {max(gaps):.2g}"


def _fingerprint(arrays: Sequence[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:12]
