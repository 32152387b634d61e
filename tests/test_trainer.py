"""The whole job: explained, within its time, and the same after a kill."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet import jobs, trainer
from kerasresnet.manifests import read_manifest
from kerasresnet.resuming import recipe_of
from kerasresnet.rules import Facts

FACTS = Facts(
    images=40,
    smallest_class=12,
    classes=3,
    image_size=32,
    trunk_seconds=1e-4,
    step_seconds={"conv5": 1e-4, "conv4": 2e-4, "conv3": 3e-4},
)


def facts_of(model, train, validation, precision):
    counts = train.counts().values()
    return replace(
        FACTS, images=len(train), smallest_class=min(counts), classes=len(counts)
    )


SHORT = {"stages": ("conv5", "conv4"), "epochs": (2, 2), "views": 1, "verbose": 0}


@pytest.fixture
def parts(coloured):
    images, labels = coloured
    return (images[:40], labels[:40]), (images[40:], labels[40:])


@pytest.fixture(autouse=True)
def known_speed(monkeypatch):
    """The rules are told the same on every machine."""
    monkeypatch.setattr(jobs, "measure", facts_of)


def test_the_job_is_explained_before_it_starts(small, parts, capsys):
    outcome = kr.train(small(3), *parts, **{**SHORT, "epochs": (1, 1), "verbose": 2})
    shown = capsys.readouterr().out
    for decision in outcome.recipe.decisions:
        assert decision.name in shown
    assert shown.index("predicted to take") < shown.index("linear probe on 40 images")
    assert outcome.history.epoch == [0, 1]
    assert str(outcome.report) in str(outcome)


def test_the_result_is_at_least_as_good_as_the_probe_on_validation(small, parts):
    model = small(3)
    outcome = kr.train(model, *parts, **SHORT)
    assert outcome.report.accuracy >= outcome.probe.accuracy
    again = kr.evaluate(model, parts[1])
    np.testing.assert_array_equal(again.probabilities, outcome.report.probabilities)


def test_few_images_are_probed_alone(small, parts):
    outcome = kr.train(small(3), *parts, verbose=0)
    assert outcome.recipe.stages == ()
    assert outcome.history.epoch == []
    assert outcome.report.accuracy == outcome.probe.accuracy


def test_a_head_with_hidden_units_is_trained_first(small, parts):
    model = small(3, hidden_units=(8,))
    outcome = kr.train(model, *parts, stages="conv5", epochs=1, views=1, verbose=0)
    assert outcome.probe is None
    assert len(outcome.history.epoch) == 10 + 1


def test_a_head_with_hidden_units_is_trained_also_alone(small, parts):
    outcome = kr.train(small(3, hidden_units=(8,)), *parts, stages=(), verbose=0)
    assert (outcome.recipe.probe, len(outcome.history.epoch)) == (False, 10)
    assert "has hidden units" in str(outcome.recipe)


def test_a_model_that_is_only_solved_is_saved_without_an_optimizer(
    small, parts, tmp_path, recwarn
):
    model = small(3)
    kr.train(model, *parts, run_dir=tmp_path / "run", verbose=0)
    assert not kr.load(tmp_path / "run" / "model.keras").compiled
    assert not [each for each in recwarn if "optimizer" in str(each.message)]


def test_a_fifth_is_held_out_where_there_is_no_validation_data(small, coloured):
    outcome = kr.train(small(3), coloured, verbose=0)
    assert 2 <= len(outcome.report) <= 30
    assert len(outcome.report) + outcome.probe.images == 60


def test_unreadable_photos_are_left_out_before_the_rest_is_divided(
    small, flower_folder, tmp_path, caplog
):
    shutil.copytree(flower_folder, tmp_path / "photos")
    (tmp_path / "photos" / "roses" / "bad.jpg").write_bytes(b"")
    data = kr.ImageData.from_folder(tmp_path / "photos")
    with pytest.raises(kr.DataError, match=r"bad\.jpg"):
        kr.train(small(5), data, verbose=0)
    outcome = kr.train(small(5), data, on_error="skip", verbose=0)
    assert outcome.probe.images + len(outcome.report) == 30
    assert caplog.text.count("1 of 31 images cannot be read and are left out") == 1


def test_a_recipe_is_followed_again_as_it_was(small, parts):
    first = kr.train(small(3), *parts, **SHORT)
    second = kr.train(small(3), *parts, recipe=first.recipe, verbose=0)
    assert second.history.history == first.history.history
    changed = replace(first.recipe, stages=("conv5",), epochs=(1,), learning_rates=(1e-4,))  # fmt: skip
    assert kr.train(small(3), *parts, recipe=changed, verbose=0).history.epoch == [0]


@pytest.fixture
def slow(monkeypatch, tmp_path):
    """Arguments of a run with batches of 16 that take 10 s each."""
    now = [0.0]
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now[0])

    class Slow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            now[0] += 10.0

    told = {"callbacks": [Slow()], "run_dir": tmp_path / "run"}
    return {**SHORT, "batch_size": 16, **told}


def test_no_epoch_is_begun_that_would_end_too_late(
    small, parts, slow, tmp_path, caplog
):
    slow = {**slow, "epochs": (4, 4), "time_budget": 100}
    outcome = kr.train(small(3), *parts, **slow)
    assert read_manifest(tmp_path / "run")["result"]["stopped"]
    assert outcome.recipe.epochs == (4, 4)
    assert outcome.history.epoch == [0, 1, 2]  # 30 s each
    assert "another would go beyond the time budget of 1 min 40 s" in caplog.text


def test_a_run_that_ends_in_time_was_not_stopped(small, parts, slow, tmp_path, caplog):
    slow = {**slow, "epochs": (1, 1), "time_budget": 80}
    outcome = kr.train(small(3), *parts, **slow)
    assert outcome.history.epoch == [0, 1]  # 60 s, and a third would take 30 s
    assert not read_manifest(tmp_path / "run")["result"]["stopped"]
    assert "time budget" not in caplog.text


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"recipe": "best"}, "recipe must be 'auto' or a Recipe"),
        ({"resume": True}, "resume=True needs run_dir"),
        ({"epoch": 3}, "epoch"),
        ({"views": 4, "augmentation": "none"}, "views=4 is a number of random views"),
        ({"time_budget": "soon"}, "duration"),
        ({"time_budget": 0.001}, "too short"),
        ({"precision": "half"}, "precision"),
        ({"class_weight": {"rose": 2}}, "names 'rose', which is not a class"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(
    small, parts, settings, match
):
    model = small(3)
    before = model.get_weights()
    with pytest.raises(ValueError, match=match):
        kr.train(model, *parts, verbose=0, **settings)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_recipe_takes_no_overrides(small, parts):
    recipe = kr.train(small(3), *parts, verbose=0).recipe
    with pytest.raises(ValueError, match="followed as it is"):
        kr.train(small(3), *parts, recipe=recipe, epochs=3)


def test_a_dataset_is_refused_with_the_way_on(small, parts):
    dataset = tf.data.Dataset.from_tensor_slices(parts[0]).batch(8)
    with pytest.raises(kr.DataError, match=r"received a tf\.data\.Dataset"):
        kr.train(small(3), dataset)


# Runs ----------------------------------------------------------------------------------


@pytest.mark.core
def test_a_run_leaves_its_model_and_its_record(small, parts, tmp_path):
    model = small(3)
    outcome = kr.train(model, *parts, run_dir=tmp_path / "run", **SHORT)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["manifest.json", "model.keras"]
    manifest = read_manifest(tmp_path / "run")
    assert recipe_of(manifest["recipe"]) == outcome.recipe
    assert manifest["finished"]
    assert not manifest["result"]["stopped"]
    assert manifest["result"]["history"] == outcome.history.history
    loaded = kr.load(tmp_path / "run" / "model.keras")
    for now, then in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_run_goes_on_only_as_what_it_was(small, parts, tmp_path):
    folder = tmp_path / "run"

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kr.train(small(3), *parts, run_dir=folder, callbacks=[Stop()], **SHORT)
    with pytest.raises(kr.DataError, match=r"failed or was stopped.*resume=True"):
        kr.train(small(3), *parts, run_dir=folder, **SHORT)
    with pytest.raises(kr.ArtifactError, match="not what it was begun with: seed"):
        kr.train(small(3), *parts, run_dir=folder, resume=True, seed=1)
    with pytest.raises(kr.ArtifactError, match="begun with: weights"):
        kr.train(small(3, seed=1), *parts, run_dir=folder, resume=True)
    images, labels = parts[0]
    with pytest.raises(kr.ArtifactError, match="begun with: train"):
        kr.train(small(3), (images[1:], labels[1:]), parts[1], run_dir=folder, resume=True)  # fmt: skip
    for other, said in (
        ({"epochs": 7}, "epochs"),
        ({"schedule": "constant"}, "schedule"),
        ({"time_budget": "1h"}, "time_budget"),
    ):
        with pytest.raises(kr.ArtifactError, match=f"begun with: {said}"):
            kr.train(small(3), *parts, run_dir=folder, resume=True, **{**SHORT, **other})  # fmt: skip
    kr.train(small(3), *parts, run_dir=folder, resume=True, verbose=0)
    with pytest.raises(kr.ArtifactError, match="is finished"):
        kr.train(small(3), *parts, run_dir=folder, resume=True)


def test_there_must_be_a_run_to_resume(small, parts, tmp_path):
    with pytest.raises(kr.ArtifactError, match="There is no run in"):
        kr.train(small(3), *parts, run_dir=tmp_path, resume=True)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(kr.ArtifactError, match="is damaged"):
        kr.train(small(3), *parts, run_dir=tmp_path, resume=True)


KILLED = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    import conftest, numpy as np, keras
    import kerasresnet as kr
    from kerasresnet import checkpoints, extraction, jobs, recording, rounds
    from test_trainer import SHORT, facts_of

    def die_in(module, name, call, before=True):
        original, calls = getattr(module, name), [0]
        def replaced(*args, **kwargs):
            calls[0] += 1
            if before and calls[0] == call:
                os.kill(os.getpid(), signal.SIGKILL)
            found = original(*args, **kwargs)
            if calls[0] == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return found
        setattr(module, name, replaced)

    def train(point, resume):
        jobs.measure = facts_of
        recording._SECONDS = 0.0
        if point == "caching":
            die_in(extraction.Extraction, "_compute", 2)
        elif point == "epoch":
            die_in(checkpoints.Checkpoints, "write", 3, before=False)
        elif point == "writing":
            die_in(checkpoints.np, "savez", 2, before=False)
        elif point == "stages":
            die_in(rounds, "set_trainable", 2)
        keras.utils.set_random_seed(0)
        images, labels = np.load({data!r})["images"], np.load({data!r})["labels"]
        model = kr.build_classifier(
            3, backbone="small", input_shape=(32, 32, 3), weights=None, dropout=0.5
        )
        kr.train(
            model, (images[:40], labels[:40]), (images[40:], labels[40:]),
            run_dir={run!r}, resume=resume, batch_size=16, **SHORT,
        )

    # Each in a process of its own; that all begin after the imports saves half a minute.
    for number, point in enumerate(sys.argv[1:]):
        process = os.fork()
        if not process:
            train(point, number > 0)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        print(point, os.waitstatus_to_exitcode(status), flush=True)
"""


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(
    small, coloured, tmp_path
):
    images, labels = coloured
    data, cut = str(tmp_path / "data.npz"), str(tmp_path / "cut")
    np.savez(data, images=images, labels=labels)
    tests = str(Path(__file__).parent)
    script = textwrap.dedent(KILLED.format(tests=tests, data=data, run=cut))
    environment = {**os.environ, "KERASRESNET_CACHE": str(tmp_path / "cut-cache")}
    points = ("caching", "epoch", "writing", "stages", "never")
    ended = subprocess.run(
        [sys.executable, "-c", script, *points],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    codes = [*dict.fromkeys(points[:-1], -signal.SIGKILL).items(), ("never", 0)]
    lines = "".join(f"{point} {code}\n" for point, code in codes)
    assert ended.stdout == lines, ended.stderr[-2000:]

    keras.utils.set_random_seed(0)
    train, held_out = (images[:40], labels[:40]), (images[40:], labels[40:])
    kr.train(
        small(3, dropout=0.5),
        train,
        held_out,
        run_dir=tmp_path / "whole",
        batch_size=16,
        **SHORT,
    )
    whole, cut = (read_manifest(tmp_path / name) for name in ("whole", "cut"))
    assert json.dumps(cut["result"]["history"]) == json.dumps(whole["result"]["history"])  # fmt: skip
    models = [kr.load(tmp_path / name / "model.keras") for name in ("whole", "cut")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_is_printed_if_that_is_not_wanted(small, parts, capsys, caplog):
    caplog.set_level(logging.WARNING, "kerasresnet")
    kr.train(small(3), *parts, verbose=0)
    assert capsys.readouterr().out == ""


def test_a_compiled_model_keeps_its_loss_and_the_recipe_says_so(small, parts):
    model = small(3)
    kr.compile_classifier(model, label_smoothing=0.2)
    with pytest.raises(ValueError, match=r"label_smoothing=0.2, received .*=0.5"):
        kr.train(model, *parts, label_smoothing=0.5, **SHORT)
    outcome = kr.train(model, *parts, **SHORT)
    assert outcome.recipe.label_smoothing == 0.2
    told = {each.name: each for each in outcome.recipe.decisions}["label_smoothing"]
    assert (told.value, "its own loss" in told.reason) == (0.2, True)
    other = small(3)
    kr.compile_classifier(other)
    with pytest.raises(ValueError, match="label_smoothing=0, received"):
        kr.train(other, *parts, recipe=outcome.recipe)


def test_a_run_that_improved_on_nothing_says_so(small, parts, tmp_path):
    model, run = small(3), tmp_path / "run"
    rates = {"learning_rates": 1e-12}  # below what a float32 weight can notice
    outcome = kr.train(model, *parts, run_dir=run, **SHORT, **rates)
    assert read_manifest(run)["result"]["undone"] is True
    card = kr.model_card(model, outcome.report, run_dir=run)
    assert "No epoch of the stages improved" in card
