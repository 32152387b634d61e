"""How values show themselves in a notebook: as text and pictures, never as code."""

import shutil

import numpy as np
import pytest
from reading import read

import kerasresnet as kr
from kerasresnet.notebooks import MOST_SHOWN

ODD = "<img src=x onerror=alert(1)>"


def shown(value):
    html = value._repr_html_()
    assert "color:" not in html  # a notebook may be dark
    return read(html)


def sources(page):
    return [found["src"] for found in page.all("img")]


def test_images_show_their_classes_and_a_photo_of_each(flowers):
    page = shown(flowers)
    assert repr(flowers) in page.texts
    assert set(flowers.class_names) <= set(page.texts)
    assert page.texts.count("6") == 5
    assert [found["alt"] for found in page.all("img")] == [str(flowers.paths[i]) for i in range(0, 30, 6)]  # fmt: skip
    assert all(source.startswith("data:image/") for source in sources(page))


def test_images_of_many_classes_show_a_few(pixels):
    images, _ = pixels
    page = shown(kr.ImageData.from_arrays(np.repeat(images, 4, 0), np.arange(40)))
    assert len(sources(page)) == MOST_SHOWN
    assert "and 20 more classes" in page.texts


def test_unlabelled_images_and_none_show_themselves(pixels):
    images, _ = pixels
    page = shown(kr.ImageData.from_arrays(images))
    assert len(sources(page)) == MOST_SHOWN
    assert not page.all("table")
    assert shown(kr.ImageData(())).texts == ["ImageData(0 images, unlabelled)"]


def test_a_photo_that_cannot_be_read_is_left_out(flower_folder, tmp_path):
    shutil.copytree(flower_folder, tmp_path / "photos")
    data = kr.ImageData.from_folder(tmp_path / "photos")
    data.paths[0].write_bytes(b"no image")
    data.paths[6].unlink()
    assert len(sources(shown(data))) == 3


def test_names_stay_text_in_all_of_them(pixels):
    images, labels = pixels
    data = kr.ImageData.from_arrays(images, labels, class_names=[ODD, *"abcd"])
    prediction = kr.Prediction(ODD, ODD, 0.9, ((ODD, 0.9), ("a", 0.1)))
    for value in (data, data.check(), prediction):
        page = shown(value)
        assert ODD in page.texts
        assert all(source.startswith("data:") for source in sources(page))


def test_an_audit_shows_what_it_prints(flowers, tmp_path):
    shutil.copy(flowers.paths[0], tmp_path / "a.jpg")
    shutil.copy(flowers.paths[0], tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"")
    audit = kr.ImageData.from_paths(tmp_path).check()
    said = " ".join(shown(audit).texts).split()
    assert said == str(audit).split()
    assert "empty." in said


@pytest.mark.parametrize("kind", ["file", "array", "gone"])
def test_a_prediction_shows_its_image_if_it_is_there(kind, flowers):
    source = "image 0" if kind != "file" else str(flowers.paths[0])
    image = np.zeros((8, 8, 3), "uint8") if kind == "array" else None
    answers = (("roses", 0.75), ("tulips", 0.25))
    page = shown(kr.Prediction(source, "roses", 0.75, answers, image))
    assert len(sources(page)) == (kind != "gone")
    assert [bar["value"] for bar in page.all("meter")] == ["0.7500", "0.2500"]
    assert {"75.0%", "25.0%", "roses", "tulips"} <= set(page.texts)
