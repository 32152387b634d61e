"""A run that is done again comes to the same, and it is said where it cannot."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet import backbones, deadlines, jobs, reproducing
from kerasresnet.manifests import read_manifest, write_manifest
from kerasresnet.notes import RunSettings
from kerasresnet.reproducing import compare_runs, reproduce_run
from kerasresnet.rules import Facts
from kerasresnet.runs import train_run

SETTINGS = RunSettings(
    weights=None,
    image_size=32,
    dropout=0.5,
    from_stage=("conv5", "conv4"),
    epochs=(2, 2),
    augmentation="light",
    views=1,
    validation=0.4,
    time_budget="1h",
)
TIMES = {"trunk_seconds": 1e-4, "step_seconds": dict.fromkeys(kr.STAGES[:-1], 1e-4)}


def facts_of(model, train, validation, precision):
    return Facts(images=len(train), smallest_class=3, classes=5, image_size=32, **TIMES)


def in_time(deadline, epoch, logs=None):
    """The budget ends in the middle of the second stage."""
    if epoch == 2:
        deadline.course.stopped = deadline.model.stop_training = True


@pytest.fixture(scope="module")
def first(tmp_path_factory, flower_folder):
    """A run on photos of its own, with the stand-in in ResNet50's place."""
    folder = tmp_path_factory.mktemp("first")
    shutil.copytree(flower_folder, folder / "photos")
    (folder / "run").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "resnet50", backbones.BACKBONES["small"])
        patch.setattr(jobs, "measure", facts_of)
        data = kr.ImageData.from_folder(folder / "photos")
        told = {"say": lambda line: None, "verbose": 0}
        with patch.context() as short:
            short.setattr(deadlines.Deadline, "on_epoch_end", in_time)
            train_run(data, folder / "run", SETTINGS, **told)
        yield folder


@pytest.fixture
def run(first, tmp_path):
    """A copy of its folder, which a test may change."""
    return shutil.copytree(first / "run", tmp_path / "run")


def again(run, folder):
    said = []
    folder.mkdir()
    same = reproduce_run(run, folder, say=said.append, verbose=0)
    return same, "\n".join(said)


def change(run, **entries):
    write_manifest(run, {**read_manifest(run), **entries})


def test_a_run_that_is_done_again_comes_to_the_same(first, tmp_path):
    same, said = again(first / "run", tmp_path / "again")
    assert same
    assert said.endswith("verdict: the same, bit for bit")
    assert "The time budget ended that run early" in said
    histories = [
        (folder / "history.csv").read_text("utf-8")
        for folder in (first / "run", tmp_path / "again")
    ]
    assert histories[0] == histories[1]
    assert len(histories[0].splitlines()) == 1 + 3
    rows = {line.split()[0]: line.split()[-1] for line in said.splitlines()[-6:-2]}
    expected = dict.fromkeys(("accuracy", "history", "weights"), "none")
    assert rows == {"then": "difference", **expected}


def test_a_photo_that_changed_is_named_and_nothing_is_trained(first, run, tmp_path):
    photo, other = sorted((first / "photos" / "roses").iterdir())[:2]
    held = photo.read_bytes(), other.read_bytes()
    change(run, versions={**read_manifest(run)["versions"], "keras": "3.0"})
    Image.new("RGB", (40, 40)).save(photo)
    other.unlink()
    try:
        same, said = again(run, tmp_path / "again")
    finally:
        photo.write_bytes(held[0])
        other.write_bytes(held[1])
    assert not same
    assert said.startswith("keras: 3.0 then, ")
    assert f"{photo} has changed" in said
    assert f"{other} cannot be read" in said
    assert "and was not trained again" in said
    assert list((tmp_path / "again").iterdir()) == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("weights", "begins with other weights than then"),
        ("train", "other training photos"),
        ("validation", "other held-out photos"),
    ],
)
def test_what_is_not_what_it_was_is_said_before_training(run, tmp_path, entry, said):
    change(run, **{entry: "another"})
    same, lines = again(run, tmp_path / "again")
    assert not same
    assert said in lines


def test_many_reasons_are_cut_short():
    said = []
    assert not reproducing._refuse(said.append, [f"{n} has changed" for n in range(12)])
    assert said[9:11] == ["  9 has changed", "  and 2 more"]


def test_runs_that_came_to_something_else_are_told_apart(first, run):
    assert compare_runs(first / "run", run).same
    result = read_manifest(run)["result"]
    result["history"]["loss"][1] += 0.25
    change(run, result=result)
    found = compare_runs(first / "run", run)
    assert not found.same
    assert [row[3] for row in found.rows] == ["none", "up to 0.25", "none"]
    result["history"]["loss"].append(0.0)
    change(run, result=result)
    assert compare_runs(first / "run", run).rows[1][3] == "other lengths"
    del result["history"]["loss"]
    change(run, result=result)
    assert compare_runs(first / "run", run).rows[1][3] == "other metrics"


def test_other_weights_are_measured(first, run):
    model = kr.load(run / "model.keras")
    weights = model.get_weights()
    weights[-1] = weights[-1] + np.float32(0.5)
    model.set_weights(weights)
    model.save(run / "model.keras")
    found = compare_runs(first / "run", run)
    assert not found.same
    (row,) = (row for row in found.rows if row[0] == "weights")
    assert row[1] != row[2]
    assert row[3] == "up to 0.5"


def test_other_versions_are_listed(run):
    then = read_manifest(run)
    assert reproducing._other_versions(then) == []
    then["versions"]["keras"] = "3.0"
    ((name, was, _, difference),) = reproducing._other_versions(then)
    assert (name, was, difference) == ("keras", "3.0", "another version")


def test_a_run_is_followed_as_far_as_it_came(first):
    then = read_manifest(first / "run")
    recipe, callbacks = reproducing._as_far(then)
    assert (recipe.stages, recipe.epochs) == (("conv5", "conv4"), (2, 2))
    assert len(callbacks) == 1
    result = {"history": {"loss": [0.0] * 2}}
    recipe, _ = reproducing._as_far({**then, "result": result})
    assert (recipe.stages, recipe.epochs) == (("conv5",), (2,))
    whole = {**result, "stopped": False}  # though a stage was left out
    recipe, callbacks = reproducing._as_far({**then, "result": whole})
    assert (recipe.epochs, callbacks) == ((2, 2), [])
    unlimited = {**then, "result": result, "time_budget": None}
    recipe, callbacks = reproducing._as_far(unlimited)
    assert (recipe.epochs, callbacks) == ((2, 2), [])
    head = {"result": {"history": {"loss": [0.0] * 4}}, "head": [[8], 0.0, "avg"]}
    assert reproducing._as_far({**then, **head})[0].stages == ()


def test_only_a_finished_run_is_done_again(run, tmp_path):
    change(run, finished=False)
    with pytest.raises(kr.ArtifactError, match=r"not finished.*--resume"):
        reproduce_run(run, tmp_path, say=lambda line: None)
    (run / "settings.json").write_text(json.dumps({"data": None}))
    with pytest.raises(kr.ArtifactError, match="damaged"):
        reproduce_run(run, tmp_path, say=lambda line: None)
