import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import backbone_files
from kerasresnet.keras_files import read_keras
from kerasresnet.weights import open_weights

SHAPE = (32, 32, 3)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def trunk(model):
    return [layer for layer in model.layers if layer.name.startswith("conv")]


def weights_of(layers):
    return [w for layer in layers for w in layer.get_weights()]


def test_a_saved_backbone_starts_another_classifier(small, tmp_path):
    model = small(class_names=["cat", "dog"], seed=1)
    path = kr.save_backbone(model, tmp_path / "trunk.weights.h5")
    again = small(3, seed=2, weights=path)
    assert same(weights_of(trunk(model)), weights_of(trunk(again)))
    assert [p.name for p in tmp_path.iterdir()] == ["trunk.weights.h5"]


def test_the_file_says_what_it_is(small, tmp_path):
    model = small(class_names=["cat", "dog"])
    path = kr.save_backbone(model, str(tmp_path / "a.weights.h5"), include_top=True)
    assert read_keras(path).notes == {
        "backbone": "small",
        "stem": "imagenet",
        "preprocessing": "caffe",
        "image_size": [32, 32],
        "class_names": ["cat", "dog"],
    }
    found = open_weights(path, backbone="small", include_top=True)
    assert (found.classes, found.class_names) == (2, ("cat", "dog"))
    assert (found.stem, found.preprocessing) == ("imagenet", "caffe")
    kernel = model.get_layer("predictions").get_weights()[0]
    np.testing.assert_array_equal(found.arrays["predictions"][0], kernel)
    without = kr.save_backbone(small(2), tmp_path / "b.weights.h5")
    found = open_weights(without, backbone="small")
    assert (found.classes, found.class_names) == (None, None)


def test_keras_itself_loads_the_file_on_the_same_graph(tmp_path):
    model = kr.build_classifier(4, weights=None, input_shape=SHAPE)
    for top in (False, True):
        path = tmp_path / f"{top}.weights.h5"
        kr.save_backbone(model, path, include_top=top)
        theirs = keras.applications.ResNet50(
            weights=None, include_top=top, input_shape=SHAPE, classes=4
        )
        theirs.load_weights(path)
        assert same(weights_of(trunk(model)), weights_of(trunk(theirs)))
    heads = [m.get_layer("predictions").get_weights() for m in (model, theirs)]
    assert same(*heads)


def test_many_class_names_are_divided(small, tmp_path):
    names = [f"a rather long name of class number {i}" for i in range(3000)]
    model = small(class_names=names)
    path = kr.save_backbone(model, tmp_path / "a.weights.h5")
    assert read_keras(path).notes["class_names"] == names


def test_other_names_models_and_folders_are_refused(small, tmp_path):
    with pytest.raises(ValueError, match=r"must end in '\.weights\.h5'"):
        kr.save_backbone(small(), tmp_path / "a.h5")
    with pytest.raises(ValueError, match="Expected a Classifier"):
        kr.save_backbone(keras.Sequential(), tmp_path / "a.weights.h5")
    with pytest.raises(kr.WeightsError, match=r"the folder .*/absent does not exist"):
        kr.save_backbone(small(), tmp_path / "absent" / "a.weights.h5")


def test_a_write_that_fails_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = kr.save_backbone(small(seed=1), tmp_path / "a.weights.h5")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backbone_files, "_annotate", full)
    with pytest.raises(kr.WeightsError, match="No space left"):
        kr.save_backbone(small(seed=2), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights.h5"]


@pytest.mark.parametrize("number", [None, 3])
def test_a_head_comes_with_its_names(small, pixels, tmp_path, number):
    model = small(class_names=["cat", "dog", "owl"])
    path = kr.save_backbone(model, tmp_path / "a.weights.h5", include_top=True)
    settings = {"backbone": "small", "weights": path, "input_shape": (32, 32, 3)}
    again = kr.build_classifier(number, include_top=True, **settings)
    assert again.class_names == ("cat", "dog", "owl")
    np.testing.assert_array_equal(again.predict(pixels[0]), model.predict(pixels[0]))


def test_a_head_in_another_order_or_for_nothing_is_refused(small, tmp_path):
    model = small(class_names=["cat", "dog", "owl"])
    path = kr.save_backbone(model, tmp_path / "a.weights.h5", include_top=True)
    settings = {"backbone": "small", "input_shape": (32, 32, 3), "include_top": True}
    with pytest.raises(kr.WeightsError, match="in this order"):
        kr.build_classifier(class_names=["dog", "cat", "owl"], weights=path, **settings)
    with pytest.raises(kr.WeightsError, match="classes"):
        kr.build_classifier(7, weights=path, **settings)
    with pytest.raises(ValueError, match="received weights=None"):
        kr.build_classifier(3, weights=None, **settings)
    with pytest.raises(ValueError, match="Leave these out"):
        kr.build_classifier(3, weights=path, hidden_units=(8,), **settings)
