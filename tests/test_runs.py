import csv
import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet import runs
from kerasresnet.runs import RunSettings, empty_folder, new_folder, train_run

SETTINGS = RunSettings(
    weights=None,
    image_size=32,
    epochs=2,
    fine_tune_epochs=1,
    augmentation="light",
    validation=0.4,
)


@pytest.fixture(scope="module")
def finished(small, flower_folder, tmp_path_factory):
    """A run on the stand-in network: folder, model, report and the lines said."""

    def build(class_names, **settings):
        return small(len(class_names), class_names=class_names, **settings)

    folder = tmp_path_factory.mktemp("run")
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "build_classifier", build)
        data = kr.ImageData.from_folder(flower_folder)
        model, report = train_run(data, folder, SETTINGS, say=said.append, verbose=0)
    return folder, model, report, said


def test_a_run_folder_holds_model_numbers_figures_and_settings(finished):
    folder, model, report, said = finished
    assert {path.name for path in folder.iterdir()} == {
        "model.keras",
        "settings.json",
        "split.csv",
        "history.csv",
        "report.txt",
        "mistakes.csv",
        "images.png",
        "history.png",
        "confusion.png",
        "predictions.png",
    }
    for figure in folder.glob("*.png"):
        Image.open(figure).verify()
    assert said[0] == "check: every image can be read"
    train, held_out = kr.ImageData.from_csv(folder / "split.csv").split()
    assert (
        said[1] == f"split: {len(train)} images to train on, {len(held_out)} held out"
    )
    assert len(train) + len(held_out) == 30
    assert report.sources == held_out.sources
    assert said[2].startswith("build: ResNet50 for 32 px, ")
    assert kr.load(folder / "model.keras").class_names == model.class_names
    assert (folder / "report.txt").read_text("utf-8") == f"{report}\n"


def test_the_files_of_a_run_agree_with_its_report(finished):
    folder, _, report, _ = finished
    with (folder / "mistakes.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["source"] for row in rows] == [m.source for m in report.mistakes]
    with (folder / "history.csv").open(encoding="utf-8", newline="") as stream:
        epochs = list(csv.DictReader(stream))
    assert [row["epoch"] for row in epochs] == ["1", "2", "3"]
    assert float(epochs[-1]["val_accuracy"]) == pytest.approx(report.accuracy)
    record = json.loads((folder / "settings.json").read_text("utf-8"))
    assert record["settings"]["fine_tune_epochs"] == 1
    assert record["versions"]["kerasresnet"] == kr.__version__


def test_new_folders_are_numbered(tmp_path):
    names = [new_folder(tmp_path / "runs", "pets").name for _ in range(3)]
    assert names == ["pets-1", "pets-2", "pets-3"]


def test_a_folder_that_holds_anything_is_never_written_into(tmp_path):
    assert empty_folder(tmp_path / "a" / "new").is_dir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear")
    with pytest.raises(kr.DataError, match="exists and is not empty"):
        empty_folder(tmp_path / "full")
    with pytest.raises(kr.DataError, match="exists and is not empty"):
        empty_folder(tmp_path / "full" / "thesis.txt")


def test_every_epoch_leaves_a_whole_model_and_nothing_beside_it(small, tmp_path):
    callback = runs._SaveEachEpoch(tmp_path / "model.keras")
    callback.set_model(small(class_names=["cat", "dog"]))
    for epoch in range(2):
        callback.on_epoch_end(epoch)
        assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
        assert kr.load(tmp_path / "model.keras").class_names == ("cat", "dog")


def test_views_without_augmentation_are_refused():
    with pytest.raises(ValueError, match="Turn augmentation on"):
        RunSettings(views=4)


# Which images go where -----------------------------------------------------------------------


def divided(data, *shares, names):
    parts = zip(names, data.split(*shares), strict=True)
    return kr.ImageData.combine(**dict(parts))


def test_images_that_are_divided_keep_their_parts(flowers):
    data = divided(flowers, 0.2, 0.2, names=["train", "validation", "test"])
    train, held_out, scored = runs._divided(data, SETTINGS)
    assert [part.parts[0] for part in (train, held_out, scored)] == [
        "train",
        "validation",
        "test",
    ]
    data = divided(flowers, 0.2, names=["train", "test"])
    train, held_out, scored = runs._divided(data, SETTINGS)
    assert held_out is scored
    assert held_out.parts[0] == "test"


def test_images_divided_into_other_parts_are_refused(flowers):
    data = divided(flowers, 0.2, names=["train", "rest"])
    with pytest.raises(kr.DataError, match="divided into train, rest"):
        runs._divided(data, SETTINGS)


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
    skipping = replace(SETTINGS, on_error="skip")
    assert len(runs._checked(bad, skipping, said.append)) == 31
