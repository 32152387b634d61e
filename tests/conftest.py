"""Fixtures: drawn photos, a small stand-in for ResNet50, and the names that examples use."""

import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import backbones
from kerasresnet.demo import draw_flowers

keras.utils.disable_interactive_logging()


def _small_graph(images):
    """A network with ResNet's stage names, batch norm and strides, in milliseconds."""
    layers = keras.layers
    x = layers.Conv2D(8, 3, 2, "same", name="conv1_conv")(images)
    x = layers.BatchNormalization(name="conv1_bn")(x)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.MaxPooling2D(2, name="pool1_pool")(x)
    for stage, filters, stride in (
        ("conv2", 8, 1),
        ("conv3", 16, 1),
        ("conv4", 16, 2),
        ("conv5", 32, 2),
    ):
        shortcut = layers.Conv2D(filters, 1, stride, name=f"{stage}_block1_0_conv")(x)
        shortcut = layers.BatchNormalization(name=f"{stage}_block1_0_bn")(shortcut)
        x = _small_block(x, shortcut, f"{stage}_block1", filters, stride)
    return x


def _small_block(x, shortcut, block, filters, stride):
    layers = keras.layers
    for number, kernel in ((1, 1), (2, 3)):
        x = layers.Conv2D(
            filters, kernel, stride, "same", name=f"{block}_{number}_conv"
        )(x)
        x = layers.BatchNormalization(name=f"{block}_{number}_bn")(x)
        stride = 1
        if number == 1:
            x = layers.Activation("relu", name=f"{block}_1_relu")(x)
    x = layers.Add(name=f"{block}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{block}_out")(x)


backbones.BACKBONES["small"] = backbones.Backbone(_small_graph, smallest=16)


def pytest_collection_finish():
    """Lets garbage be searched for less: a tenth of the time, with what Keras imports."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests, examples and commands started by them leave the user's cache alone."""
    os.environ["KERASRESNET_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def small():
    """Builds a `Classifier` on the stand-in, 32 px, five classes."""

    def build(num_classes=None, seed=0, **settings):
        if num_classes is None and "class_names" not in settings:
            num_classes = 5
        keras.utils.set_random_seed(seed)
        settings = {"input_shape": (32, 32, 3), "weights": None, **settings}
        return kr.build_classifier(num_classes, backbone="small", **settings)

    return build


@pytest.fixture(scope="session")
def flower_folder(tmp_path_factory):
    """Six drawn photos of each of five flowers."""
    return draw_flowers(tmp_path_factory.mktemp("data") / "flower_photos", per_class=6)


@pytest.fixture
def flowers(flower_folder):
    return kr.ImageData.from_folder(flower_folder)


@pytest.fixture
def pixels():
    """Ten images that no preprocessing has touched, and their labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (10, 32, 32, 3), "uint8"), np.arange(10) % 5


@pytest.fixture(scope="session")
def coloured():
    """60 images of three classes that colour alone tells apart, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.integers(0, 60, (60, 32, 32, 3), "uint8")
    images[np.arange(60), :, :, labels] += 150
    return images, labels


@pytest.fixture(scope="session")
def real_data():
    """The folder of real photos, where there is one."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("KERASRESNET_TEST_DATA", default))
    if not (folder / "flower_photos").is_dir():
        pytest.skip(f"no real photos in {folder}; set KERASRESNET_TEST_DATA")
    return folder
