"""Each tracker is used offline, and read back; none of them can lose a run."""

import json
import logging
import runpy
import socket
import sys
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet import backbones, jobs, sinks, trackers
from kerasresnet.cli import main
from kerasresnet.manifests import read_manifest
from kerasresnet.notes import read_settings
from kerasresnet.rules import Facts

FACTS = Facts(
    images=40,
    smallest_class=12,
    classes=3,
    image_size=32,
    trunk_seconds=1e-4,
    step_seconds={"conv5": 1e-4, "conv4": 2e-4, "conv3": 3e-4},
)
# Layers at rates of their own: what trackers are least prepared for.
DECAYED = {"epochs": 2, "layer_decay": 0.5, "verbose": 0}
# Trackers start threads and processes, and use other packages, that warn as they like.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No settings of the user's, no network, and the same speed on every machine."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(jobs, "measure", lambda *_: FACTS)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def parts(coloured):
    images, labels = coloured
    return (images[:40], labels[:40]), (images[40:], labels[40:])


class Broken(keras.callbacks.Callback):
    """Works until the end of the first epoch."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error or OSError("disk full")

    def on_epoch_end(self, epoch, logs=None):
        raise self.error


class FakeSink:
    """Records what it is given."""

    made = None

    def __init__(self, folder, settings):
        self.folder, self.settings, self.results = folder, settings, None
        self.failed = None
        FakeSink.made = self

    def callback(self):
        return Broken()

    def write(self, results):
        self.results = results

    def close(self, *, failed):
        self.failed = failed


def shielded_from(callback):
    return trackers.Shielded(callback, trackers.Guard("it"))


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setitem(trackers.SINKS, "tensorboard", FakeSink)
    monkeypatch.setattr(trackers, "find_spec", lambda name: True)
    return FakeSink


# What holds for all ---------------------------------------------------------------------


def test_a_run_ends_without_a_broken_tracker_that_is_told_of_once(
    small, parts, tmp_path, fake, caplog
):
    settings = {"stages": "conv5", "views": 1, **DECAYED}
    outcome = kr.train(
        small(3), *parts, run_dir=tmp_path / "run", track="tensorboard", **settings
    )
    assert outcome.history.epoch == [0, 1]
    assert read_manifest(tmp_path / "run")["finished"]
    assert caplog.text.count("TensorBoard failed and is left out") == 1
    assert "OSError: disk full" in caplog.text
    assert fake.made.results is None
    assert fake.made.failed is False


@pytest.mark.parametrize("when", ["__init__", "callback", "write", "close"])
def test_a_tracker_may_fail_at_any_time(small, parts, fake, when, monkeypatch, caplog):
    def fail(*arguments, **named):
        raise RuntimeError("no server")

    monkeypatch.setattr(fake, "callback", lambda self: keras.callbacks.Callback())
    monkeypatch.setattr(fake, when, fail)
    model = small(3)
    with kr.tracking("tensorboard") as tracker:
        assert len(tracker.callbacks) == (when in ("write", "close"))
        tracker.finish(model, kr.evaluate(model, parts[1]))
    assert caplog.text.count("no server") == 1


def test_a_tracker_is_told_what_the_run_is(small, parts, fake):
    outcome = kr.train(small(3), *parts, track="tensorboard", stages=(), verbose=0)
    settings = fake.made.settings
    assert settings["recipe"]["batch_size"] == outcome.recipe.batch_size
    assert sum(settings["images"]["validation"].values()) == 20
    json.dumps(settings)


def test_ctrl_c_passes_and_the_tracker_knows(fake):
    shielded = shielded_from(Broken(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt), kr.tracking("tensorboard"):
        shielded.on_epoch_end(0)
    assert fake.made.failed is True


def test_the_table_has_the_hardest_photos(small, parts, fake):
    model = small(3)
    report = kr.evaluate(model, parts[1])
    with kr.tracking("tensorboard") as tracker:
        tracker.finish(model, report, kr.ImageData.from_arrays(*parts[1]))
    rows, photos = fake.made.results.rows, fake.made.results.photos
    of_true = report.probabilities[np.arange(20), report.labels]
    assert rows[0][0] == report.sources[of_true.argmin()]
    assert len(rows) == len(photos) == 20
    np.testing.assert_array_equal(photos[0], parts[1][0][of_true.argmin()])
    with kr.tracking("tensorboard") as tracker:
        tracker.finish(model, report)
    assert fake.made.results.photos == []


def test_photos_that_are_not_those_of_the_report_are_refused(small, parts, fake):
    model = small(3)
    report = kr.evaluate(model, parts[1])
    with (
        pytest.raises(kr.DataError, match="not those of the report"),
        kr.tracking("tensorboard") as tracker,
    ):
        tracker.finish(model, report, kr.ImageData.from_arrays(*parts[0]))
    assert fake.made.results is None


def test_a_tracker_that_is_not_installed_is_told_of_before_anything_is_done(
    small, parts, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r'pip install "kerasresnet\[wandb\]"'):
        kr.train(small(3), *parts, run_dir=tmp_path / "run", track="wandb")
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_refused(small, parts):
    with pytest.raises(ValueError, match="Did you mean 'tensorboard'"):
        kr.train(small(3), *parts, track="tensorbord")


@pytest.mark.parametrize("module", [sinks, trackers])
def test_no_tracker_is_loaded_unless_it_is_asked_for(module, monkeypatch):
    for name in ("wandb", "mlflow", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)  # to import it would fail
    runpy.run_path(module.__file__)


def test_a_shielded_callback_still_steers_the_training(small, parts):
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", mode="min", min_delta=9e9)
    settings = {**DECAYED, "epochs": 5, "keep": "last"}
    callbacks = [shielded_from(stop)]
    history = kr.fine_tune(small(3), *parts, callbacks=callbacks, **settings)
    assert history.epoch == [0, 1]


def test_only_hooks_that_do_something_are_handed_on():
    own = vars(shielded_from(Broken()))
    assert {name for name in own if name.startswith("on_")} == {"on_epoch_end"}


# W&B ------------------------------------------------------------------------------------


def wandb_log(file):
    """What W&B wrote, without the headers of its records (LevelDB's log format)."""
    data, block, at, found = file.read_bytes(), 1 << 15, 7, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        size = int.from_bytes(data[at + 4 : at + 6], "little")
        found += data[at + 7 : at + 7 + size]
        at += 7 + size
    return found


def test_wandb_without_a_login_keeps_the_run_to_be_sent_later(
    small, parts, tmp_path, caplog
):
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    from wandb.integration.keras import WandbModelCheckpoint

    folder, model = tmp_path / "run", small(3)
    with kr.tracking("wandb", folder) as tracker:
        # `fine_tune` takes W&B's own callbacks as any other.
        watchers = [*tracker.callbacks, WandbModelCheckpoint("{epoch}.keras")]
        kr.fine_tune(model, *parts, callbacks=watchers, **DECAYED)
        images = kr.ImageData.from_arrays(*parts[1])
        tracker.finish(model, kr.evaluate(model, images), images)
    assert wandb.run is None
    assert (tmp_path / "2.keras").exists()
    run_id = json.loads((folder / "wandb_run.json").read_text())["id"]
    assert caplog.text.count(f"wandb sync {folder}/wandb/offline-run-*-{run_id}") == 1
    (kept,) = folder.glob(f"wandb/offline-run-*-{run_id}")
    wanted = (b"epoch/val_loss", b"epoch/learning_rate", b"validation/accuracy_low")
    give_up = time.monotonic() + 20  # W&B's own process writes, in its own time
    while not all(name in wandb_log(kept / f"run-{run_id}.wandb") for name in wanted):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    (table,) = kept.glob("files/media/table/predictions_*.json")
    rows = json.loads(table.read_text())
    assert rows["columns"] == ["source", "image", "true", "predicted", "probability"]
    assert len(rows["data"]) == 20
    assert list(kept.glob("files/media/images/confusion_*.png"))
    with kr.tracking("wandb", folder):  # the same run goes on
        assert wandb.run.id == run_id
    assert len(list(folder.glob(f"wandb/offline-run-*-{run_id}"))) in (1, 2)


def test_wandb_goes_offline_if_the_server_does_not_answer(
    tmp_path, monkeypatch, caplog
):
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    calls = []

    def init(**settings):
        calls.append(settings)
        if settings.get("mode") != "offline":
            raise wandb.errors.CommError("timed out")
        return SimpleNamespace(
            id=settings["id"], offline=True, dir=tmp_path / "a" / "b"
        )

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(sinks._WandB, "_logged_in", lambda self: True)
    sinks._WandB(tmp_path, {"seed": 0})
    assert [call.get("mode") for call in calls] == [None, "offline"]
    assert calls[0]["id"] == calls[1]["id"]
    assert "W&B does not answer (timed out)" in caplog.text


def test_wandb_writes_to_a_run_of_the_users_own_and_leaves_it_open(monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    run = SimpleNamespace(finish=lambda **_: pytest.fail("it was ended"))
    monkeypatch.setattr(wandb, "run", run)
    sink = sinks._WandB(None, {})
    assert sink._run is run
    sink.close(failed=False)


# TensorBoard ----------------------------------------------------------------------------


def test_tensorboard_is_written_beside_the_run(small, parts, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing import event_accumulator as events

    folder, model = tmp_path / "run", small(3)
    with kr.tracking("tensorboard", folder, {"seed": 0}) as tracker:
        history = kr.fit(
            model, *parts, epochs=2, callbacks=tracker.callbacks, verbose=0
        )
        report = kr.evaluate(model, parts[1])
        tracker.finish(model, report)

    def read(part):
        found = events.EventAccumulator(str(folder / "tensorboard" / part))
        return found.Reload()

    losses = read("validation").Tensors("epoch_loss")
    assert [each.step for each in losses] == [0, 1]
    values = [float(tf.make_ndarray(each.tensor_proto)) for each in losses]
    np.testing.assert_allclose(values, history.history["val_loss"], rtol=1e-6)
    results = read("results")
    assert {"settings", "predictions", "confusion"} <= set(results.Tags()["tensors"])
    (accuracy,) = results.Tensors("validation/accuracy")
    reached = float(tf.make_ndarray(accuracy.tensor_proto))
    assert reached == pytest.approx(report.accuracy)


# MLflow ---------------------------------------------------------------------------------


@pytest.fixture
def mlflow(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    yield mlflow
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(None)


def test_mlflow_keeps_a_database_beside_the_run(small, parts, tmp_path, mlflow):
    folder = tmp_path / "run"
    settings = {"stages": (), "verbose": 0}
    outcome = kr.train(small(3), *parts, run_dir=folder, track="mlflow", **settings)
    known = json.loads((folder / "mlflow_run.json").read_text())
    assert known["uri"] == f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(known["uri"])
    run = client.get_run(known["id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe.batch_size"] == str(outcome.recipe.batch_size)
    assert run.data.metrics["validation/accuracy"] == outcome.report.accuracy
    files = {each.path for each in client.list_artifacts(known["id"])}
    assert {"confusion.png", "predictions.json", "model.keras"} <= files
    with kr.tracking("mlflow", folder):  # the same run goes on
        assert client.get_run(known["id"]).info.status == "RUNNING"
    assert client.get_run(known["id"]).info.status == "FINISHED"
    mlflow.set_tracking_uri(known["uri"])
    with mlflow.start_run(experiment_id=run.info.experiment_id) as own:
        with kr.tracking("mlflow", tmp_path / "other") as tracker:
            # `fit` takes MLflow's own callback as any other.
            watchers = [*tracker.callbacks, mlflow.keras.MlflowCallback()]
            history = kr.fit(small(3), *parts, epochs=2, callbacks=watchers, verbose=0)
        assert mlflow.active_run().info.run_id == own.info.run_id
    mlflow.flush_async_logging()
    values = client.get_metric_history(own.info.run_id, "val_loss")
    found = {(each.step, each.value) for each in values}
    assert set(enumerate(history.history["val_loss"])) <= found


def test_mlflow_does_without_a_server_that_does_not_answer(
    tmp_path, mlflow, monkeypatch, caplog
):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # nobody listens
        uri = f"http://127.0.0.1:{port}"
        monkeypatch.setattr(sinks.urllib.request, "getproxies", dict)
        assert not sinks._answers(uri)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        sink = sinks._MLflow.__new__(sinks._MLflow)
        sink._mlflow = mlflow
        assert sink._place(tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert f"MLflow's server at {uri} does not answer" in caplog.text


def test_a_server_that_listens_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert sinks._answers(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert sinks._answers("sqlite:///mlflow.db")


def test_settings_within_settings_have_names_of_their_own():
    assert sinks._flat({"a": 1, "b": {"c": [2], "d": {"e": None}}}) == {
        "a": "1",
        "b.c": "[2]",
        "b.d.e": "None",
    }


def test_the_command_line_follows_a_run(flower_folder, fake, tmp_path, monkeypatch):
    small = backbones.BACKBONES["small"]
    monkeypatch.setitem(backbones.BACKBONES, "resnet50", small)
    words = [
        "train",
        flower_folder,
        "--out",
        tmp_path / "run",
        "--track",
        "tensorboard",
    ]
    settings = ["--weights", "none", "--image-size", "32", "--from-stage", "none"]
    assert main([str(word) for word in [*words, *settings]]) == 0
    assert fake.made.folder == tmp_path / "run"
    assert fake.made.failed is False
    assert read_settings(tmp_path / "run")[0].track == "tensorboard"
