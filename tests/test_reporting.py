"""Pictures on the page: of all images that are there, and what is said of the others."""

import shutil

import numpy as np
import pytest
from reading import read

import kerasresnet as kr
from kerasresnet import reporting
from kerasresnet.labelling import LabelIssue, LabelIssues


@pytest.fixture
def classifier(small, flowers):
    return small(class_names=flowers.class_names)


@pytest.fixture
def report(classifier, flowers):
    return kr.evaluate(classifier, flowers)


def written(report, tmp_path, **contents):
    path = tmp_path / "page.html"
    report.to_html(path, **contents)
    return read(path.read_text("utf-8"))


def test_all_photos_and_the_heat_maps_of_mistakes_are_on_the_page(
    report, classifier, tmp_path
):
    page = written(report, tmp_path, model=classifier)
    assert all(row[4].startswith("data:image/webp;") for row in page.held["photos"])
    assert len(page.all("img")) == 2 * min(24, len(report.mistakes)) > 0
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]


def test_without_a_model_there_are_no_heat_maps(report, tmp_path):
    page = written(report, tmp_path)
    assert len(page.all("img")) == min(24, len(report.mistakes))
    assert not any("Grad-CAM" in text for text in page.texts)


def test_arrays_are_shown_if_they_are_passed(small, pixels, tmp_path, caplog):
    model, data = small(), kr.ImageData.from_arrays(*pixels, class_names=list("abcde"))
    report = kr.evaluate(model, data)
    page = written(report, tmp_path)
    said = "10 of 10 images cannot be shown: there is no such file. Pass data=, what was evaluated."  # fmt: skip
    assert said in page.texts
    assert said in caplog.messages
    assert not page.all("img")
    page = written(report, tmp_path, data=data, model=model)
    assert all(row[4] for row in page.held["photos"])
    assert said not in page.texts


def test_photos_that_are_gone_are_counted_and_the_others_shown(
    classifier, flower_folder, tmp_path
):
    shutil.copytree(flower_folder, tmp_path / "photos")
    data = kr.ImageData.from_folder(tmp_path / "photos")
    report = kr.evaluate(classifier, data)
    for path in data.paths[:4]:
        path.unlink()
    page = written(report, tmp_path)
    assert sum(row[4] is None for row in page.held["photos"]) == 4
    assert any(text.startswith("4 of 30 images cannot be shown") for text in page.texts)
    data.paths[5].write_bytes(b"no image")
    before = (tmp_path / "page.html").read_bytes()
    with pytest.raises(kr.DataError, match="it is not an image"):
        report.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == before


def test_data_that_was_not_evaluated_is_refused(report, flowers, tmp_path):
    with pytest.raises(kr.DataError, match="lacks 20 images in all"):
        report.to_html(tmp_path / "page.html", data=flowers.take(10))
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_a_thousand_photos_is_below_5_mb(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1000, 96, 96, 3), "uint8")  # the worst to compress
    data = kr.ImageData.from_arrays(images, np.arange(1000) % 10)
    scores = rng.dirichlet(np.ones(10), 1000)
    report = kr.Report(data.class_names, data.labels, scores, data.sources)
    page = written(report, tmp_path, data=data)
    assert (tmp_path / "page.html").stat().st_size < 5e6
    pictured = [row for row in page.held["photos"] if row[4]]
    left_out = 1000 - len(pictured)
    said = f"{left_out:,} of 1,000 images have no picture: the page would grow too large."  # fmt: skip
    assert (said in page.texts) == (left_out > 0)
    wrong = sum(row[0] != row[1] for row in pictured)
    assert wrong == min(len(report.mistakes), len(pictured))  # mistakes first


def test_labels_that_look_wrong_are_shown_with_their_photos(report, flowers, tmp_path):
    issues = tuple(
        LabelIssue(str(path), "daisy", "roses", 0.9, 0.1)
        for path in (*flowers.paths[:2], "/gone.jpg")
    )
    found = LabelIssues(issues, 30, flowers.class_names, 0.9, files=True)
    before = len(written(report, tmp_path).all("img"))
    assert len(written(report, tmp_path, label_issues=found).all("img")) == before + 2
    found = LabelIssues(issues, 30, flowers.class_names, 0.9, files=False)
    page = written(report, tmp_path, label_issues=found)
    assert len(page.all("img")) == before
    assert any(text.startswith("3 labels of 30 disagree") for text in page.texts)


def test_a_heat_map_has_the_shape_of_its_photo(classifier, tmp_path, monkeypatch):
    shapes = []
    monkeypatch.setattr(
        reporting, "embedded", lambda pixels: shapes.append(pixels.shape) or "data:,"
    )
    images = [np.full((60, 120, 3), 9 * i, "uint8") for i in range(5)]
    names = classifier.class_names
    data = kr.ImageData.from_images(images, [0, 1, 2, 3, 4], class_names=names)
    report = kr.evaluate(classifier, data)
    report.to_html(tmp_path / "page.html", data=data, model=classifier)
    assert set(shapes) == {(112, 224, 3), (48, 96, 3)}


def test_what_fit_and_train_return_as_history_is_drawn(report, tmp_path):
    page = written(report, tmp_path, history={"loss": [2, 1], "val_loss": [3, 2]})
    assert any(svg["aria-label"] == "loss over 2 epochs" for svg in page.all("svg"))


def test_names_that_are_no_utf_8_make_a_page_too(tmp_path):
    report = kr.Report(
        ("a", "b"), np.array([0, 1]), np.eye(2), ("\udcff.jpg", "b\0.jpg")
    )
    page = written(report, tmp_path)
    assert [row[4] for row in page.held["photos"]] == [None, None]


def test_a_model_must_be_a_classifier(report, tmp_path):
    with pytest.raises(ValueError, match="Expected a Classifier"):
        report.to_html(tmp_path / "page.html", model="model.keras")


def test_a_model_with_other_classes_is_refused(report, small, tmp_path):
    for other in (small(class_names=list("abcde")), small(4)):
        with pytest.raises(ValueError, match="The report is of another model"):
            report.to_html(tmp_path / "page.html", model=other)


def test_arrays_are_shown_as_they_were_evaluated(small, pixels, tmp_path):
    report = kr.evaluate(small(), pixels)
    report.to_html(tmp_path / "page.html", data=pixels)
    assert "data:image/webp" in (tmp_path / "page.html").read_text("utf-8")


def test_a_page_needs_a_folder(small, pixels, tmp_path):
    report = kr.evaluate(small(), pixels)
    with pytest.raises(kr.DataError, match=r"There is no folder .*absent"):
        report.to_html(tmp_path / "absent" / "page.html")
