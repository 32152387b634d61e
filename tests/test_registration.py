"""Keras finds this library's classes, whichever is imported first."""

import subprocess
import sys

import pytest

import kerasresnet as kr
from kerasresnet.registration import register_with_keras

LOADS = (
    "import sys; model = keras.saving.load_model(sys.argv[1]); "
    "print(type(model).__name__, model.class_names, model.loss.name)"
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    # The stand-in backbone is unknown to another process, so a real one is saved.
    model = kr.build_classifier(
        class_names=["cat", "dog"],
        weights=None,
        input_shape=(32, 32, 3),
        backbone="resnet18",
    )
    kr.compile_classifier(model)
    path = tmp_path_factory.mktemp("saved") / "pets.keras"
    model.save(path)
    return path


@pytest.mark.parametrize(
    "imports",
    [
        "import kerasresnet, keras",
        "import keras, kerasresnet",
        # Here a module below `classifier` is the one that imports Keras.
        "import kerasresnet; kerasresnet.set_trainable; import keras",
        "import kerasresnet, importlib.util as u; u.find_spec('keras'); import keras",
    ],
)
def test_plain_keras_loads_a_classifier_after_import_kerasresnet(imports, saved):
    answer = subprocess.run(
        [sys.executable, "-c", f"{imports}; {LOADS}", str(saved)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "Classifier ('cat', 'dog') cross_entropy"


def test_the_finder_waits_for_keras_alone_and_stays_until_it_is_loaded():
    finders = []
    register_with_keras({}, finders)
    (finder,) = finders
    assert finder.find_spec("numpy") is None
    assert finders == [finder]
