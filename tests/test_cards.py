"""A model card tells what is known and leaves nothing invented."""

import re
import shutil

import numpy as np
import pytest
import yaml

import kerasresnet as kr
from kerasresnet.manifests import versions, write_manifest

# https://arxiv.org/abs/1810.03993, with training apart from its data.
SECTIONS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Training procedure",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]


def report_of(names, seed=0, count=40):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(len(names)), count).astype("float32")
    labels = np.arange(count) % len(names)
    return kr.Report(
        tuple(names), labels, scores, tuple(f"{i}.jpg" for i in range(count))
    )


@pytest.fixture
def report():
    return report_of(("cat", "dog", "eel"))


@pytest.fixture
def model(small):
    return small(class_names=("cat", "dog", "eel"))


@pytest.fixture(scope="module")
def run(small, coloured, tmp_path_factory):
    images, labels = coloured
    model = small(3)
    folder = tmp_path_factory.mktemp("card") / "run"
    settings = {"stages": "conv5", "epochs": 1, "views": 1, "verbose": 0}
    outcome = kr.train(model, (images, labels), run_dir=folder, **settings)
    return model, outcome, folder


def test_the_sections_are_the_usual_ones_in_their_order(model, report):
    card = kr.model_card(model, report)
    assert re.findall("^## (.+)$", card, re.MULTILINE) == SECTIONS


def test_the_front_matter_is_what_hugging_face_reads(model, report):
    front = yaml.safe_load(kr.model_card(model, report).split("---")[1])
    assert front["library_name"] == "keras"
    assert front["pipeline_tag"] == "image-classification"
    assert "image-classification" in front["tags"]
    assert "license" not in front


def test_facts_are_those_of_model_and_report(model, report):
    card = kr.model_card(model, report)
    low, high = report.accuracy_interval
    assert f"| accuracy | {report.accuracy:.1%} | {low:.1%} to {high:.1%} |" in card
    assert f"| balanced accuracy | {report.balanced_accuracy:.1%} |" in card
    assert f"**Parameters:** {model.count_params():,}" in card
    assert "32 x 32 px" in card
    for score in report.per_class:
        assert f"| {score.name} | {score.precision:.1%} | {score.recall:.1%} |" in card


def test_what_is_not_known_is_not_stated(model, report):
    card = kr.model_card(model, report)
    for name in ("Intended use", "Factors", "Training procedure"):
        section = card.split(f"## {name}\n\n")[1]
        assert section.startswith("Not stated. *To be written by the author: ")
    for name in ("Author", "Licence", "Versions", "Weights at the beginning"):
        assert f"**{name}:** Not stated. " in card


def test_a_run_tells_how_the_model_was_trained(run):
    model, outcome, folder = run
    card = kr.model_card(model, outcome.report, run_dir=folder)
    procedure = card.split("## Training procedure")[1].split("## Quant")[0]
    for decision in outcome.recipe.decisions:
        assert f"\n| {decision.name.replace('_', chr(92) + '_')} |" in procedure
    assert f"keras {versions()['keras']}" in card
    assert "Not stated" not in procedure
    assert "flatter a little" in card


def test_other_photos_than_the_runs_own_are_not_said_to_flatter(run, coloured):
    model, _, folder = run
    report = kr.evaluate(model, coloured)
    assert "flatter" not in kr.model_card(model, report, run_dir=folder)


def test_the_command_lines_notes_tell_weights_and_counts(run, tmp_path):
    model, outcome, folder = run
    folder = shutil.copytree(folder, tmp_path / "run")
    (folder / "settings.json").write_text(
        '{"data": "x", "settings": {"weights": "/home/me/secret/w.h5"}}'
    )
    rows = ["a.jpg,0,train,x", "b.jpg,0,validation,x", "c.jpg,1,train,x"]
    (folder / "split.csv").write_text(
        "\n".join(["image_path,label,part,digest", *rows])
    )
    card = kr.model_card(model, outcome.report, run_dir=folder)
    assert "**Weights at the beginning:** w.h5" in card
    assert "secret" not in card
    assert "| class | train | validation |\n|---|---|---|\n| 0 | 1 | 1 |" in card


def test_names_are_shown_and_do_nothing(small):
    names = ("a|b: c", "<script>alert(1)</script>", "x\n---\n# y")
    card = kr.model_card(small(class_names=names), report_of(names))
    assert re.findall("^## (.+)$", card, re.MULTILINE) == SECTIONS
    assert card.count("\n---\n") == 1
    assert "<script>" not in card
    assert r"a\|b: c" in card
    assert yaml.safe_load(card.split("\n---\n")[0])["library_name"] == "keras"


def test_a_large_number_of_classes_is_named_in_part(small):
    names = [f"class {i}" for i in range(120)]
    card = kr.model_card(small(class_names=names), report_of(names, count=240))
    assert "class 99 and 20 more" in card
    assert "were called which" not in card
    assert "| top-5 |" in card


def test_it_is_written_where_it_is_asked_for(model, report, tmp_path):
    card = kr.model_card(model, report, path=tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text("utf-8") == card


def test_the_three_lines_for_use_run(model, report, tmp_path, monkeypatch, pixels):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    model.save("model.keras")
    Image.fromarray(pixels[0][0]).save("photo.jpg")
    code = re.search(r"```python\n(.+?)```", kr.model_card(model, report), re.DOTALL)
    exec(code[1], {})


def test_another_models_report_or_run_is_refused(small, model, report, tmp_path):
    with pytest.raises(ValueError, match="report is of another model"):
        kr.model_card(small(class_names=("x", "y", "z")), report)
    write_manifest(tmp_path, {"class_names": ["x"], "finished": True})
    with pytest.raises(kr.ArtifactError, match="another model's"):
        kr.model_card(model, report, run_dir=tmp_path)
    with pytest.raises(kr.ArtifactError, match="There is no run"):
        kr.model_card(model, report, run_dir=tmp_path / "none")


def test_a_card_tells_of_threshold_and_calibration(small, coloured):
    model = small(3)
    report = kr.evaluate(model, coloured)
    assert "No threshold is set" in kr.model_card(model, report)
    kr.calibrate(model, coloured)
    model.threshold = 0.4
    card = kr.model_card(model, report)
    assert "calibrated on 60 photos" in card
    assert "Below a probability of 0.4000 the answer is unknown" in card
    assert "No threshold" not in card
