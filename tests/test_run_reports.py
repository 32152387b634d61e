"""A run on one page: what was kept of it, and nothing of a run that is not whole."""

import json
import shutil

import pytest
from reading import read

import kerasresnet as kr
from kerasresnet import backbones, jobs, run_reports
from kerasresnet.manifests import read_manifest
from kerasresnet.notes import RunSettings
from kerasresnet.rules import Facts
from kerasresnet.run_reports import report_run
from kerasresnet.runs import Run, train_run
from kerasresnet.twins import trunk_digest

SETTINGS = RunSettings(
    weights=None, image_size=32, from_stage=("conv5",), epochs=(4,), validation=0.4
)


def facts_of(model, train, validation, precision):
    times = {"trunk_seconds": 1e-4, "step_seconds": dict.fromkeys(kr.STAGES[:-1], 1e-4)}
    return Facts(images=len(train), smallest_class=3, classes=5, image_size=32, **times)


@pytest.fixture(scope="module")
def first(flower_folder, tmp_path_factory):
    """A run on photos of its own, with the stand-in in ResNet50's place."""
    folder = tmp_path_factory.mktemp("first")
    shutil.copytree(flower_folder, folder / "photos")
    (folder / "run").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "resnet50", backbones.BACKBONES["small"])
        patch.setattr(jobs, "measure", facts_of)
        data, told = kr.ImageData.from_folder(folder / "photos"), {"say": lambda line: None}  # fmt: skip
        train_run(data, folder / "run", SETTINGS, source=folder / "photos", verbose=0, **told)  # fmt: skip
        yield folder


@pytest.fixture
def run(first, tmp_path):
    """A copy of its folder, which a test may change."""
    return shutil.copytree(first / "run", tmp_path / "run")


def written(run, out=None):
    said = []
    path = report_run(run, out, say=said.append, verbose=0)
    return read(path.read_text("utf-8")), said


def test_the_page_has_all_that_is_known_and_the_run_is_as_it_was(run):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    page, said = written(run)
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert after.pop("report.html")
    assert after == before
    parts = ["summary", "data", "training", "confusion", "classes", "reliability"]
    parts += ["mistakes", "labels", "settings"]
    assert {found["id"] for found in page.all("section")} <= set(parts)
    assert {found["id"] for found in page.all("section")} >= {*parts} - {"mistakes"}
    assert [line.split(":")[0] for line in said] == ["check", "evaluate", "labels", "draw"]  # fmt: skip
    assert f"{read_manifest(run)['result']['accuracy']:.1%}" in page.texts
    assert {"Report on photos", "train", "version of keras"} <= {
        text.removeprefix("photos, ") for text in page.texts
    }


def test_labels_are_judged_by_a_network_that_has_not_learned_them(run, monkeypatch):
    asked = []
    judge = run_reports.label_issues
    monkeypatch.setattr(
        run_reports,
        "label_issues",
        lambda model, data, **rest: (
            asked.append((model, data)) or judge(model, data, **rest)
        ),
    )
    trained = kr.load(run / "model.keras")
    trained.get_layer("conv5_block1_1_conv").kernel.assign_add([[[[0.1] * 32] * 16]])
    trained.save(run / "model.keras")
    written(run)
    ((model, data),) = asked
    began = read_manifest(run)["weights"]
    assert trunk_digest(model, "avg_pool") == began
    assert trunk_digest(trained, "avg_pool") != began
    assert len(data) == 30


def test_a_network_that_was_not_tuned_is_taken_as_it_is(run, monkeypatch):
    trained = kr.load(run / "model.keras")
    change(run, "manifest.json", weights=trunk_digest(trained, "avg_pool"))
    monkeypatch.setattr(Run, "build", None)
    page, _ = written(run)
    assert page.all("section", id="labels")


def test_without_the_first_weights_only_the_labels_are_left_out(run):
    change(run, "manifest.json", weights="others")
    page, said = written(run)
    assert not page.all("section", id="labels")
    assert page.all("section", id="settings")
    assert any("labels: left out of the page. The network that" in line for line in said)  # fmt: skip


def test_photos_that_took_no_part_in_any_choice_are_scored_if_there_are_some(run):
    split = run / "split.csv"
    lines = split.read_text("utf-8").splitlines()
    moved = [i for i, line in enumerate(lines) if ",validation," in line][::2]
    for i in moved:
        lines[i] = lines[i].replace(",validation,", ",test,")
    split.write_text("\n".join(lines), "utf-8")
    page, said = written(run)
    assert len(page.held["photos"]) == len(moved)
    assert any("no part in any choice" in text for text in page.texts)
    assert any("the part 'test'" in line for line in said)


def test_the_page_goes_where_it_is_wanted(run, tmp_path):
    page, _ = written(run, tmp_path / "page.html")
    assert page.held["names"] == read_manifest(run)["class_names"]
    assert not (run / "report.html").exists()


def change(run, name, **values):
    file = run / name
    record = {**json.loads(file.read_text("utf-8")), **values}
    file.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))


def lose_photo(run):
    line = (run / "split.csv").read_text("utf-8").splitlines()[3]
    photo = line.split(",")[0]
    lines = (run / "split.csv").read_text("utf-8").replace(photo, f"{photo}.gone")
    (run / "split.csv").write_text(lines, "utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "settings.json").unlink(), "There is no run in"),
        (
            lambda run: (run / "manifest.json").unlink(),
            "has not ended. To go on with it: kerasresnet train --out .*run --resume",
        ),
        (lambda run: change(run, "manifest.json", finished=False), "has not ended"),
        (lambda run: (run / "manifest.json").write_text("{"), "is damaged"),
        (
            lambda run: change(run, "manifest.json", result=None, recipe=None),
            "manifest.json is damaged: expected entries recipe, result",
        ),
        (
            lambda run: (run / "model.keras").unlink(),
            "has no model any more: .* kerasresnet reproduce .*run --out DIR",
        ),
        (lambda run: (run / "split.csv").unlink(), "split.csv does not exist"),
        (lose_photo, "photos of the run in .* are not what they were: .*gone cannot be"),
    ],
)  # fmt: skip
def test_a_run_that_is_not_whole_says_what_to_do(run, damage, said):
    damage(run)
    with pytest.raises(kr.KerasResNetError, match=said):
        report_run(run, say=lambda line: None, verbose=0)
    assert not (run / "report.html").exists()


def test_a_place_that_cannot_be_is_said_before_anything_is_done(run, tmp_path):
    for place, said in (
        (tmp_path, "is a folder. Expected the name of a file"),
        (tmp_path / "absent" / "page.html", "There is no folder .*absent to write"),
    ):
        with pytest.raises(kr.DataError, match=said):
            report_run(run, place, say=pytest.fail)
