"""Trackers: W&B, TensorBoard and MLflow, none of which can end a run.

None is imported unless it is asked for. Without credentials or network they write into
the run's folder. Whatever they raise is a warning, and training goes on without them.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

import keras
import numpy as np

from kerasresnet.classifier import Classifier
from kerasresnet.compiling import optimizers_of
from kerasresnet.decoding import Pixels, read_image
from kerasresnet.diagrams import plot_confusion
from kerasresnet.errors import DataError, unknown
from kerasresnet.evaluation import Report
from kerasresnet.images import ImageData
from kerasresnet.sinks import SINKS, Results, Sink

TrackerName: TypeAlias = Literal["wandb", "tensorboard", "mlflow"]

_TITLES = {"wandb": "W&B", "tensorboard": "TensorBoard", "mlflow": "MLflow"}
_MOST_PHOTOS = 100
_MOST_SIDE = 224  # px, of a photo in the table
_HOOKS = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]

_log = logging.getLogger(__name__)


def check_tracker(name: str | None) -> None:
    """Raises an error unless a tracker can be used, before any work is done.

    Args:
        name: As in `tracking`.

    Raises:
        ImportError: If its package is not installed.
        ValueError: If there is no tracker of that name.
    """
    if name is None:
        return
    if name not in _TITLES:
        raise unknown("tracker", name, _TITLES)
    if find_spec(name) is None:
        raise ImportError(
            f"{_TITLES[name]} is not installed, and was asked for as tracker {name!r}. "
            f'Install it: pip install "kerasresnet[{name}]".'
        )


@contextmanager
def tracking(
    name: TrackerName | None,
    run_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator["Tracker"]:
    """Sets up a tracker for what is trained within the block. `train(track=…)` uses it.

    What a program has begun itself with `wandb.init` or `mlflow.start_run` is written to
    and left open. Else a run is begun in the project `"kerasresnet"` (`WANDB_PROJECT`,
    `MLFLOW_EXPERIMENT_NAME`), and ended with the block. A second block with the same
    `run_dir` goes on with it: its id is kept there.

    Without a login, W&B writes into `run_dir`, and the log tells how to send it later;
    `WANDB_MODE` decides otherwise. MLflow writes a database there unless
    `MLFLOW_TRACKING_URI` names a server.

    Args:
        name: `"wandb"`, `"tensorboard"`, `"mlflow"`, or None for no tracker.
        run_dir: Folder of the run. Defaults to the tracker's own places in the current
            folder: `wandb`, `logs`, `mlflow.db`.
        settings: What the run is, as JSON holds it.

    Returns:
        A context manager, which gives a `Tracker`.

    Raises:
        ImportError: If its package is not installed.
        ValueError: If there is no tracker of that name.

    Example:

    >>> train, validation = kr.ImageData.from_folder("flower_photos").split(0.2)
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> with kr.tracking(None) as tracker:  # or "wandb", "tensorboard", "mlflow"
    ...     history = kr.fit(
    ...         model, train, epochs=1, callbacks=tracker.callbacks, verbose=0
    ...     )
    ...     tracker.finish(model, kr.evaluate(model, validation), validation)
    """
    check_tracker(name)
    tracker = Tracker(name, None if run_dir is None else Path(run_dir), settings or {})
    try:
        yield tracker
    except BaseException:
        tracker.close(failed=True)
        raise
    tracker.close()


class Guard:
    """Runs what belongs to a tracker until it fails for the first time.

    Args:
        title: What the log calls it.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.broken = False

    def run(self, work: Callable[[], Any]) -> Any:
        """Returns what `work` returns, or None if it fails, now or before."""
        if self.broken:
            return None
        try:
            return work()
        except Exception as error:
            self.broken = True
            _log.warning(
                "%s failed and is left out from here on; training is not affected. "
                "%s: %s",
                self.title,
                type(error).__name__,
                error,
            )
            return None


class Shielded(keras.callbacks.Callback):
    """A callback that cannot end training: after its first error it is left out.

    `KeyboardInterrupt` passes. Where layers are trained at several rates (`layer_decay`),
    the callback sees the head's: W&B's asks the optimizer for one, which Keras's
    `MultiOptimizer` refuses.

    Args:
        callback: Any Keras callback.
        guard: What runs it.
    """

    def __init__(self, callback: keras.callbacks.Callback, guard: Guard) -> None:
        super().__init__()
        self._guard = guard
        self._callback = callback
        for hook in _HOOKS:
            # Those that do nothing stay so: Keras waits for what a batch hook may read.
            own = getattr(callback, hook)
            if getattr(own, "__func__", own) is not getattr(
                keras.callbacks.Callback, hook
            ):
                setattr(self, hook, partial(self._forward, hook))

    def _forward(self, hook: str, *arguments: Any, **named: Any) -> None:
        self._guard.run(partial(getattr(self._callback, hook), *arguments, **named))

    def set_params(self, params: Any) -> None:
        """Hands on what Keras says of the fit."""
        super().set_params(params)
        self._guard.run(partial(self._callback.set_params, params))

    def set_model(self, model: Any) -> None:
        """Hands on the model."""
        super().set_model(model)
        several = getattr(model, "optimizer", None) is not None
        several = several and len(optimizers_of(model.optimizer)) > 1
        shown = _OneRate(model) if several else model
        self._guard.run(partial(self._callback.set_model, shown))


class _OneRate:
    """A model whose optimizer is the head's."""

    def __init__(self, model: Any) -> None:
        object.__setattr__(self, "_model", model)

    def __getattr__(self, name: str) -> Any:
        model = object.__getattribute__(self, "_model")
        if name == "optimizer":
            return optimizers_of(model.optimizer)[0]
        return getattr(model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_model"), name, value)


class Tracker:
    """What `tracking` gives: callbacks for the training, and a place for its results.

    Args:
        name: As in `tracking`.
        folder: Folder of the run, or None.
        settings: What the run is.
    """

    def __init__(
        self, name: TrackerName | None, folder: Path | None, settings: Mapping[str, Any]
    ) -> None:
        self._guard = Guard(_TITLES.get(name or "", ""))
        self._folder = folder
        self._sink: Sink | None = None
        #: For `fit(callbacks=…)`.
        self.callbacks: list[keras.callbacks.Callback] = []
        if name is not None:
            plain = json.loads(json.dumps(settings, default=str))
            self._guard.run(partial(self._begin, name, plain))

    def _begin(self, name: TrackerName, settings: dict[str, Any]) -> None:
        self._sink = SINKS[name](self._folder, settings)
        # One guard for all: what fails in training gets no results either.
        self.callbacks.append(Shielded(self._sink.callback(), self._guard))

    def finish(
        self, model: Classifier, report: Report, images: ImageData | None = None
    ) -> None:
        """Writes what came of the training: scores, confusion matrix, predictions, model.

        The table of predictions has the 100 photos whose true class has the lowest
        probability. W&B and MLflow get `model.keras`, too, if it is in the run's folder.

        Args:
            model: The trained model.
            report: What `evaluate` returned.
            images: What it was evaluated on, in that order; without it the table has no
                pictures.

        Raises:
            DataError: If `images` are others than those of the report.
        """
        if images is not None and images.sources != report.sources:
            raise DataError(
                "The images are not those of the report, or in another order. Pass what was "
                "evaluated."
            )
        if self._sink is not None:
            self._guard.run(lambda: self._write(model, report, images))

    def _write(
        self, model: Classifier, report: Report, images: ImageData | None
    ) -> None:
        file = None if self._folder is None else self._folder / "model.keras"
        results = Results(
            _scores(report),
            *_hardest(model, report, images),
            plot_confusion(report),
            file if file is not None and file.exists() else None,
        )
        if self._sink is not None:
            self._sink.write(results)

    def close(self, *, failed: bool = False) -> None:
        """Ends the tracker's run, which `tracking` does at the end of its block.

        Args:
            failed: Whether training ended with an error.
        """
        sink, self._sink = self._sink, None
        if sink is not None:
            # Also after an error of the tracker: what it has is still to be written out.
            Guard(self._guard.title).run(lambda: sink.close(failed=failed))


def _scores(report: Report) -> dict[str, float]:
    low, high = report.accuracy_interval
    named = {
        "accuracy": report.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": report.balanced_accuracy,
        "macro_f1": report.macro_f1,
        "log_loss": report.log_loss,
        "calibration_error": report.calibration_error,
        "images": len(report),
    }
    return {f"validation/{name}": float(value) for name, value in named.items()}


def _hardest(
    model: Classifier, report: Report, images: ImageData | None
) -> tuple[list[tuple[str, str, str, float]], list[Pixels]]:
    """Rows of the table, and their photos as the model sees them, at most 224 px."""
    true = report.probabilities[np.arange(len(report)), report.labels]
    some = np.argsort(true, kind="stable")[:_MOST_PHOTOS].tolist()
    names = report.class_names
    rows = [
        (
            report.sources[i],
            names[report.labels[i]],
            names[report.predicted[i]],
            float(report.probabilities[i, report.predicted[i]]),
        )
        for i in some
    ]
    if images is None:
        return rows, []
    height, width = (min(side, _MOST_SIDE) for side in model.image_size)
    photos = [read_image(images.photo(i), (height, width)) for i in some]
    return rows, [np.clip(photo, 0, 255).astype("uint8") for photo in photos]
