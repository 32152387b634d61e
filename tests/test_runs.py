"""The whole job of the command line, stopped and gone on with, and its folder."""

import csv
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet import backbones, jobs, notes, rounds, runs
from kerasresnet.manifests import read_manifest
from kerasresnet.notes import RunSettings, read_parts, read_settings
from kerasresnet.recipes import Facts
from kerasresnet.runs import resume_run, train_run

SETTINGS = RunSettings(
    weights=None,
    image_size=32,
    dropout=0.5,
    from_stage=("conv5", "conv4"),
    epochs=(2, 1),
    augmentation="light",
    views=2,
    validation=0.4,
    seed=3,
)
HEAD = RunSettings(weights=None, image_size=32, validation=0.4, from_stage=())
FIGURES = {"images.png", "confusion.png", "predictions.png"}
FILES = {
    *FIGURES,
    "manifest.json",
    "mistakes.csv",
    "model.keras",
    "report.txt",
    "settings.json",
    "split.csv",
}
FACTS = {"trunk_seconds": 1e-4, "step_seconds": dict.fromkeys(kr.STAGES[:-1], 1e-4)}


def facts_of(model, train, validation, precision):
    counts = train.counts().values()
    sizes = {"images": len(train), "smallest_class": min(counts), "classes": 5}
    return Facts(image_size=32, **sizes, **FACTS)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """The stand-in in ResNet50's place, and the same speed on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "resnet50", backbones.BACKBONES["small"])
        patch.setattr(jobs, "measure", facts_of)
        yield


def run_in(folder, data, settings=SETTINGS):
    said = []
    folder.mkdir()
    source = data.paths[0].parents[1]
    results = train_run(
        data, folder, settings, source=source, say=said.append, verbose=0
    )
    return (folder, *results, said)


@pytest.fixture(scope="module")
def finished(quick, flower_folder, tmp_path_factory):
    """A run on the stand-in network: folder, model, report and the lines said."""
    data = kr.ImageData.from_folder(flower_folder)
    return run_in(tmp_path_factory.mktemp("runs") / "whole", data)


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def rows_of(file):
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_folder_holds_model_numbers_figures_and_settings(finished):
    folder, model, report, said = finished
    assert names_in(folder) == {*FILES, "history.csv", "history.png"}
    for figure in folder.glob("*.png"):
        Image.open(figure).verify()
    assert said[0] == "check: every image can be read"
    parts = read_parts(folder)
    train, held_out = parts.train, parts.held_out
    assert (
        said[1] == f"split: {len(train)} images to train on, {len(held_out)} held out"
    )
    assert len(train) + len(held_out) == 30
    assert report.sources == held_out.sources
    assert said[2].startswith("build: ResNet50 with random weights for 32 px, ")
    assert said[3].startswith(f"save: {folder / 'model.keras'}, after ")
    assert kr.load(folder / "model.keras").class_names == model.class_names
    assert (folder / "report.txt").read_text("utf-8") == f"{report}\n"


def test_the_files_of_a_run_agree_with_its_report(finished, flower_folder):
    folder, _, report, _ = finished
    mistakes = rows_of(folder / "mistakes.csv")
    assert [row["source"] for row in mistakes] == [m.source for m in report.mistakes]
    epochs = rows_of(folder / "history.csv")
    assert [row["epoch"] for row in epochs] == ["1", "2", "3"]
    scores = [float(row["val_accuracy"]) for row in epochs]
    result = read_manifest(folder)["result"]
    assert result["history"]["val_accuracy"] == scores
    assert result["accuracy"] == report.accuracy
    assert report.accuracy >= max(scores) - 1e-6


def test_settings_are_read_as_they_were_written_and_hold_nothing_else(
    finished, flower_folder
):
    folder = finished[0]
    assert read_settings(folder) == (SETTINGS, str(flower_folder))
    record = json.loads((folder / "settings.json").read_text("utf-8"))
    assert record.keys() == {"data", "settings"}


@pytest.mark.parametrize("text", ["{", '{"data": 1}', '{"data": "a", "settings": {"x": 1}}'])  # fmt: skip
def test_settings_that_cannot_be_read_are_an_error(tmp_path, text):
    with pytest.raises(kr.ArtifactError, match=r"settings\.json is missing"):
        read_settings(tmp_path)
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(kr.ArtifactError, match="damaged, or of another version"):
        read_settings(tmp_path)


def test_one_value_is_for_all_stages_and_what_is_not_given_is_left_to_the_recipe():
    assert RunSettings().overrides() == {}
    settings = RunSettings(epochs=(3,), learning_rate=(1e-3, 1e-4), from_stage=())
    expected = {"epochs": 3, "learning_rates": (1e-3, 1e-4), "stages": ()}
    assert settings.overrides() == expected


def test_the_head_alone_leaves_no_history(flowers, tmp_path):
    settings = replace(SETTINGS, from_stage=(), epochs=None, views=None, augmentation=None)  # fmt: skip
    folder, *_ = run_in(tmp_path / "run", flowers, settings)
    assert names_in(folder) == FILES


def test_the_report_of_a_run_is_on_the_test_images_if_there_are_some(flowers, tmp_path):
    data = divided(flowers, 0.2, 0.2, names=["train", "validation", "test"])
    folder, _, report, said = run_in(tmp_path / "run", data, HEAD)
    test = data.split()[2]
    assert "evaluate: the test images" in said
    assert [Path(source).name for source in report.sources] == [
        path.name for path in test.paths
    ]
    assert read_parts(folder).tested


# Stopped, and gone on with -------------------------------------------------------------------


class Stopped(BaseException):
    """The end of the process, as far as Python can tell."""


def stop_at(patch, owner, name, call):
    """Ends the process, as it were, in one of the calls of a function."""
    original, calls = getattr(owner, name), []

    def stopping(*arguments, **settings):
        calls.append(name)
        if len(calls) == call:
            raise Stopped
        return original(*arguments, **settings)

    patch.setattr(owner, name, stopping)


@pytest.mark.parametrize(
    ("owner", "name", "call", "left"),
    [
        (jobs, "measure", 1, {"settings.json", "split.csv"}),
        (jobs, "solve_head", 1, {"manifest.json"}),
        (rounds, "set_trainable", 2, {"checkpoint.npz"}),
        (runs, "plot_images", 1, {"model.keras", "history.csv"}),
    ],
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    finished, flowers, tmp_path, owner, name, call, left, monkeypatch
):
    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        # A kill leaves nobody who could clear up.
        patch.setattr(runs, "begun_in", nullcontext)
        stop_at(patch, owner, name, call)
        with pytest.raises(Stopped):
            run_in(folder, flowers)
    assert left <= names_in(folder)
    assert "report.txt" not in names_in(folder)
    (folder / "0123.partial").touch()  # killed while it was writing
    keras.utils.set_random_seed(99)  # another process begins with another state
    model, _ = resume_run(folder, say=lambda line: None, verbose=0)
    assert names_in(folder) == names_in(finished[0])
    for file in ("history.csv", "mistakes.csv", "report.txt", "split.csv"):
        assert (folder / file).read_bytes() == (finished[0] / file).read_bytes()
    for one, other in zip(model.get_weights(), finished[1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_finished_run_does_not_go_on(finished):
    with pytest.raises(kr.ArtifactError, match=r"is finished\. There is nothing"):
        resume_run(finished[0], say=lambda line: None, verbose=0)


def test_a_run_goes_on_with_the_same_photos_only(finished, tmp_path):
    folder, photos = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(finished[0], folder)
    shutil.copytree(read_parts(folder).train.paths[0].parents[1], photos)
    text = (folder / "split.csv").read_text("utf-8")
    (folder / "split.csv").write_text(text.replace(str(read_parts(folder).train.paths[0].parents[1]), str(photos)))  # fmt: skip
    assert notes.changed_photos(folder) == []
    gone, other, *_ = read_parts(folder).train.paths
    gone.unlink()
    Image.new("RGB", (40, 40)).save(other)
    lines = notes.changed_photos(folder)
    assert lines[0].startswith(f"{gone} cannot be read: ")
    assert lines[1:] == [f"{other} has changed"]
    with pytest.raises(
        kr.DataError, match=rf"cannot go on: .*{other.name} has changed"
    ):
        resume_run(folder, say=lambda line: None, verbose=0)
    (folder / "split.csv").write_text("image_path,label\n")
    with pytest.raises(kr.ArtifactError, match=r"split\.csv is damaged"):
        notes.changed_photos(folder)


# Which images go where -----------------------------------------------------------------------


def divided(data, *shares, names):
    parts = zip(names, data.split(*shares), strict=True)
    return kr.ImageData.combine(**dict(parts))


def test_images_that_are_divided_keep_their_parts(flowers):
    data = divided(flowers, 0.2, 0.2, names=["train", "validation", "test"])
    parts = notes.divided(data, SETTINGS)
    found = [part.parts[0] for part in (parts.train, parts.held_out, parts.scored)]
    assert found == ["train", "validation", "test"]
    assert parts.tested
    parts = notes.divided(divided(flowers, 0.2, names=["train", "test"]), SETTINGS)
    assert parts.held_out is parts.scored
    assert parts.held_out.parts[0] == "test"
    assert not parts.tested


def test_images_divided_into_other_parts_are_refused(flowers):
    data = divided(flowers, 0.2, names=["train", "rest"])
    with pytest.raises(kr.DataError, match="divided into train, rest"):
        notes.divided(data, SETTINGS)


def test_what_is_wrong_with_images_is_said_before_the_work(flower_folder, tmp_path):
    shutil.copytree(flower_folder, tmp_path, dirs_exist_ok=True)
    copied = next((tmp_path / "roses").iterdir())
    shutil.copy(copied, tmp_path / "daisy" / "copy.jpg")
    said = []
    data = kr.ImageData.from_folder(tmp_path)
    assert runs._checked(data, SETTINGS, said.append) is data
    assert said[0].startswith(
        "check: groups of images that are the same with different labels: 1."
    )
    (tmp_path / "roses" / "bad.jpg").touch()
    bad = kr.ImageData.from_folder(tmp_path)
    with pytest.raises(kr.DataError, match="1 of 32 images cannot be read"):
        runs._checked(bad, SETTINGS, said.append)
    with pytest.raises(kr.DataError, match="--on-error skip"):
        runs._checked(bad, SETTINGS, said.append)
    skipping = replace(SETTINGS, on_error="skip")
    assert len(runs._checked(bad, skipping, said.append)) == 31
    copied.unlink()
    runs._checked(kr.ImageData.from_folder(tmp_path), skipping, said.append)
    assert said[-1] == "check: every other image can be read"


def test_what_would_stop_training_stops_it_before_anything_is_built(flowers, tmp_path):
    roses = [path for path in flowers.paths if path.parent.name == "roses"]
    single = kr.ImageData.from_paths(roses)
    for data, reason in (
        (flowers.without(roses[1:]), r"validation: roses \(1\)\. Add photos, or leave"),
        (flowers.without(roses), r"Without an image: roses\. Add photos, or leave"),
        (
            replace(single, class_names=("roses",), labels=np.zeros(6, "int32")),
            r"1 class: .* at least two\. Add photos of a second class",
        ),
    ):
        with pytest.raises(kr.DataError, match=reason):
            train_run(data, tmp_path / "run", SETTINGS, say=lambda line: None)
    assert list(tmp_path.iterdir()) == []
