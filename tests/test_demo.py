import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import backbones, demo
from kerasresnet.decoding import read_image
from kerasresnet.demo import draw_flowers, run_demo
from kerasresnet.notes import RunSettings


def bytes_below(folder):
    return {
        p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*.jpg"))
    }


def test_the_same_seed_draws_the_same_pixels_and_another_does_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_flowers(tmp_path / name, per_class=2, seed=seed)
    assert bytes_below(tmp_path / "a") == bytes_below(tmp_path / "b")
    assert bytes_below(tmp_path / "a") != bytes_below(tmp_path / "c")


def test_more_photos_leave_the_first_ones_as_they_are(tmp_path):
    draw_flowers(tmp_path / "few", per_class=2)
    draw_flowers(tmp_path / "many", per_class=3)
    few, many = bytes_below(tmp_path / "few"), bytes_below(tmp_path / "many")
    assert few.items() <= many.items()


def test_mean_colour_alone_does_not_tell_the_classes(tmp_path):
    data = kr.ImageData.from_folder(draw_flowers(tmp_path, per_class=30))
    means = np.stack([read_image(p).mean(axis=(0, 1)) for p in data.paths])
    train, test = data.labels[::2], data.labels[1::2]
    centres = np.stack([means[::2][train == k].mean(axis=0) for k in range(5)])
    distances = np.linalg.norm(means[1::2][:, None] - centres, axis=-1)
    assert np.mean(distances.argmin(axis=1) == test) < 0.6


@pytest.fixture
def quick(monkeypatch):
    """The demo on the stand-in network, with few photos."""

    def draw(folder, per_class, seed):
        return draw_flowers(folder, per_class=5, seed=seed)

    def settings(**chosen):
        few = {"image_size": 32, "from_stage": ("conv5",), "epochs": (1,), "views": 1}
        return RunSettings(**{**chosen, **few})

    small = backbones.BACKBONES["small"]
    monkeypatch.setitem(backbones.BACKBONES, "resnet50", small)
    monkeypatch.setattr(demo, "draw_flowers", draw)
    monkeypatch.setattr(demo, "RunSettings", settings)


def run(folder, **settings):
    said = []
    run_demo(folder, say=said.append, verbose=0, **settings)
    return "\n".join(said)


def test_the_demo_says_every_step_and_leaves_the_figures(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "no weights"))
    text = run(tmp_path / "demo")
    steps = [
        "index",
        "weights",
        "check",
        "split",
        "build",
        "save",
        "evaluate",
        "predict",
        "results",
    ]
    positions = [
        text.index(f"{step}:" if step != "predict" else "predict,") for step in steps
    ]
    assert positions == sorted(positions)
    assert "weights: random. This network has never seen a photo" in text
    assert "Figures: confusion.png, history.png, images.png, predictions.png" in text
    assert (tmp_path / "demo" / "run" / "history.png").is_file()


@pytest.mark.parametrize(
    ("given", "cached", "chosen", "said"),
    [
        (None, True, "imagenet", "weights: ImageNet, from Keras's cache"),
        (None, False, None, "weights: random"),
        ("none", True, None, "weights: random"),
        ("trunk.h5", True, "trunk.h5", "weights: trunk.h5"),
    ],
)
def test_the_demo_says_which_weights_it_takes(monkeypatch, given, cached, chosen, said):
    monkeypatch.setattr(demo, "is_cached", lambda backbone: cached)
    lines = []
    assert demo._choose_weights(given, lines.append) == chosen
    assert lines[0].startswith(said)


def test_the_demo_notices_a_model_that_answers_differently(
    quick, tmp_path, monkeypatch
):
    answers = iter(
        [kr.Prediction("x", name, 0.9, ((name, 0.9),)) for name in ("a", "b")]
    )
    monkeypatch.setattr(demo, "predict", lambda *_, **__: [next(answers)])
    monkeypatch.setattr(demo, "_say_predictions", lambda *_: None)
    with pytest.raises(kr.ArtifactError, match="answers differently"):
        run(tmp_path / "demo")
