"""W&B, TensorBoard and MLflow: where each writes, and how. Anything here may raise.

None is imported before its class is made. `trackers` keeps their errors from the training.
"""

import json
import logging
import os
import socket
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from kerasresnet.decoding import Pixels
from kerasresnet.disk import write_json
from kerasresnet.markdown import table

_PROJECT = "kerasresnet"
_COLUMNS = ("source", "true", "predicted", "probability")
_PATIENCE = 30  # seconds until a server that does not answer is done without
# MLflow's own limits.
_MOST_PARAMS, _LONGEST_PARAM = 100, 500
# By default it asks a server that is gone for four minutes.
_FEW_TRIES = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Results:
    """What is written at the end.

    Args:
        scores: Numbers by name.
        rows: Source, true class, predicted class and its probability, of some images.
        photos: Those images, uint8 of one shape; or none.
        confusion: The confusion matrix.
        model_file: The trained model, if it is saved.
    """

    scores: dict[str, float]
    rows: list[tuple[str, str, str, float]]
    photos: list[Pixels]
    confusion: Figure
    model_file: Path | None


class Sink(Protocol):
    """One tracker, which begins its run, or goes on with it, when it is made.

    Args:
        folder: Folder of the run, or None.
        settings: What the run is, as JSON holds it.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None: ...

    def callback(self) -> keras.callbacks.Callback:
        """Returns what writes the numbers of each epoch."""

    def write(self, results: Results) -> None:
        """Writes what came of the run."""

    def close(self, *, failed: bool) -> None:
        """Ends the run."""


def _known(folder: Path | None, name: str) -> dict[str, str]:
    """What is written of an earlier part of the run, if anything."""
    if folder is not None:
        with suppress(OSError, ValueError, TypeError):
            return dict(json.loads((folder / f"{name}_run.json").read_text("utf-8")))
    return {}


def _remember(folder: Path | None, name: str, identity: dict[str, str]) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{name}_run.json", identity)


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Sets a variable for a while, unless the user has, or there is no value."""
    if value is None or name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


# W&B --------------------------------------------------------------------------------


class _WandB:
    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        import wandb

        self._wandb: Any = wandb
        self._folder = folder
        self._own = wandb.run is None
        self._run: Any = wandb.run
        if not self._own:
            return
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        known = _known(folder, "wandb")
        reason = self._begin(settings, known.get("id") or uuid.uuid4().hex[:8])
        self._began(reason)

    def _began(self, reason: str) -> None:
        """Keeps the id, and tells how to send a run that is kept offline."""
        _remember(self._folder, "wandb", {"id": self._run.id})
        if self._run.offline:
            # Nobody has to be warned of what was asked for, with WANDB_MODE.
            level = logging.WARNING if reason else logging.INFO
            text = "%sW&B keeps this run offline. To send it later: wandb sync %s"
            _log.log(level, text, reason, self._kept())

    def _kept(self) -> Path:
        folder = Path(self._run.dir).parent
        # A run that was gone on with lies in several folders of the same id.
        return folder.parent / f"offline-run-*-{self._run.id}"

    def _begin(self, settings: dict[str, Any], run_id: str) -> str:
        """Begins or goes on with a run; returns why it is offline, if it should not be."""
        wandb, folder = self._wandb, self._folder
        begin = partial(
            wandb.init,
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=None if folder is None else folder.name,
            id=run_id,
            resume="allow",
            dir=folder,
            config=settings,
        )
        reason = ""
        if "WANDB_MODE" not in os.environ and not self._logged_in():
            reason = "W&B is not logged in (wandb login, or WANDB_API_KEY). "
        else:
            try:
                patient = wandb.Settings(init_timeout=_PATIENCE)
                self._run = begin(settings=patient)
            except Exception as error:
                reason = f"W&B does not answer ({error}). "
        if reason:
            self._run = begin(mode="offline")
        return reason

    def _logged_in(self) -> bool:
        return bool(self._wandb.login(prompt=False, verify=False))

    def callback(self) -> keras.callbacks.Callback:
        from wandb.integration.keras import WandbMetricsLogger

        return WandbMetricsLogger()

    def write(self, results: Results) -> None:
        wandb = self._wandb
        kept = (
            None if self._folder is None else str((self._folder / "wandb").absolute())
        )
        # W&B copies what it will send, by default into the user's home.
        with _environment("WANDB_DATA_DIR", kept):
            photos: Sequence[Any] = [wandb.Image(photo) for photo in results.photos]
            first, *others = _COLUMNS
            pictured = ["image"] if photos else []
            predictions = wandb.Table(columns=[first, *pictured, *others])
            for number, (source, *cells) in enumerate(results.rows):
                shown = [photos[number]] if photos else []
                predictions.add_data(source, *shown, *cells)
            confusion = wandb.Image(_picture(results.confusion))
            self._run.log({"predictions": predictions, "confusion": confusion})
            self._run.summary.update(results.scores)
            if results.model_file is not None:
                # The name that W&B's WandbModelCheckpoint gives it.
                model = wandb.Artifact(f"run_{self._run.id}_model", type="model")
                file = str(results.model_file.absolute())
                model.add_file(file, policy="immutable")  # not copied once more
                self._run.log_artifact(model, aliases=["latest", "best"])

    def close(self, *, failed: bool) -> None:
        if self._own:
            self._run.finish(exit_code=int(failed))


def _picture(figure: Figure) -> Image.Image:
    held = BytesIO()
    figure.savefig(held, format="png", dpi=120)
    return Image.open(held)


# TensorBoard ------------------------------------------------------------------------


class _TensorBoard:
    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        import tensorflow as tf

        self._tf: Any = tf
        # Keras's own default where there is no folder.
        self._folder = Path("logs") if folder is None else folder / "tensorboard"
        _log.info("To see this run: tensorboard --logdir %s", self._folder)
        rows = [(name, value) for name, value in _flat(settings).items()]
        with self._writer():
            tf.summary.text("settings", table(("setting", "value"), rows), step=0)

    @contextmanager
    def _writer(self) -> Iterator[None]:
        writer = self._tf.summary.create_file_writer(str(self._folder / "results"))
        with writer.as_default():
            yield
        writer.close()

    def callback(self) -> keras.callbacks.Callback:
        return keras.callbacks.TensorBoard(str(self._folder), write_graph=False)

    def write(self, results: Results) -> None:
        summary = self._tf.summary
        rows = [(*row[:3], f"{row[3]:.4f}") for row in results.rows]
        with self._writer():
            for name, value in results.scores.items():
                summary.scalar(name, value, step=0)
            summary.text("predictions", table(_COLUMNS, rows), step=0)
            confusion = np.asarray(_picture(results.confusion).convert("RGB"))
            summary.image("confusion", confusion[None], step=0)
            if results.photos:
                photos = np.stack(results.photos)
                summary.image("predictions", photos, step=0, max_outputs=len(photos))

    def close(self, *, failed: bool) -> None:
        del failed  # each writer is closed after its use


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Settings within settings under names such as `recipe.epochs`."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{before}{name}."))
        else:
            found[f"{before}{name}"] = str(value)
    return found


# MLflow -----------------------------------------------------------------------------


class _MLflow:
    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        active = mlflow.active_run()
        self._own = active is None
        uri = self._place(folder)
        self._client: Any = mlflow.MlflowClient(uri)
        if active is not None:
            self._id = active.info.run_id
            return
        known = _known(folder, "mlflow")
        found = self._again(known["id"]) if known.get("uri") == uri else None
        self._id = found or self._begin(folder, settings)
        _remember(folder, "mlflow", {"id": self._id, "uri": uri})
        _log.info("To see this run: mlflow ui --backend-store-uri %s", uri)

    def _place(self, folder: Path | None) -> str:
        mlflow = self._mlflow
        local = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            local = f"sqlite:///{(folder / 'mlflow.db').absolute()}"
        given = bool(os.environ.get("MLFLOW_TRACKING_URI"))
        uri = str(mlflow.get_tracking_uri())
        if not given and not mlflow.is_tracking_uri_set():
            return local or uri
        if _answers(uri):
            return uri
        here = local or f"sqlite:///{Path('mlflow.db').absolute()}"
        _log.warning(
            "MLflow's server at %s does not answer: the run is kept in %s.", uri, here
        )
        return here

    def _again(self, run_id: str) -> str | None:
        with suppress(self._mlflow.MlflowException):
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        return None

    def _begin(self, folder: Path | None, settings: dict[str, Any]) -> str:
        client = self._client
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        found = client.get_experiment_by_name(name)
        if found is not None:
            experiment = found.experiment_id
        else:
            place = None
            if folder is not None and "mlflow.db" in str(client.tracking_uri):
                place = (folder / "mlruns").absolute().as_uri()
            experiment = client.create_experiment(name, artifact_location=place)
        run_name = None if folder is None else folder.name
        run_id = client.create_run(experiment, run_name=run_name).info.run_id
        self._log_params(run_id, _flat(settings))
        return str(run_id)

    def _log_params(self, run_id: str, settings: dict[str, str]) -> None:
        from mlflow.entities import Param

        params = [
            Param(name, value[:_LONGEST_PARAM]) for name, value in settings.items()
        ]
        for first in range(0, len(params), _MOST_PARAMS):
            some = params[first : first + _MOST_PARAMS]
            self._client.log_batch(run_id, params=some)

    def callback(self) -> keras.callbacks.Callback:
        # mlflow.keras's own refuses the second stage: its parameters are others then.
        def numbers(epoch: int, logs: Any) -> None:
            self.log_numbers(logs or {}, epoch)

        return keras.callbacks.LambdaCallback(on_epoch_end=numbers)

    def log_numbers(self, values: Mapping[str, float], step: int = 0) -> None:
        """Writes metrics of one step."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(k, float(v), now, step) for k, v in values.items()]
        with _environment(*_FEW_TRIES):
            self._client.log_batch(self._id, metrics=metrics)

    def write(self, results: Results) -> None:
        self.log_numbers(results.scores)
        columns: dict[str, list[Any]] = {
            name: [row[i] for row in results.rows] for i, name in enumerate(_COLUMNS)
        }
        if results.photos:
            image = self._mlflow.Image
            columns["image"] = [image(photo) for photo in results.photos]
        self._client.log_figure(self._id, results.confusion, "confusion.png")
        self._client.log_table(self._id, columns, "predictions.json")
        if results.model_file is not None:
            self._client.log_artifact(self._id, str(results.model_file))

    def close(self, *, failed: bool) -> None:
        if self._own:
            status = "FAILED" if failed else "FINISHED"
            with _environment(*_FEW_TRIES):
                self._client.set_terminated(self._id, status=status)


def _answers(uri: str) -> bool:
    """Whether a server can be reached; also what cannot be asked, as behind a proxy."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or urllib.request.getproxies():
        return True
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    try:
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True


SINKS: dict[str, type[Sink]] = {
    "wandb": _WandB,
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
}
