"""Trains and asks models on the backend of its own process, for test_backends.py.

Each line that it reads is `train FOLDER` or `ask FOLDER FILE`; it says so when it is done.
"""

import sys
from pathlib import Path

import conftest  # has the small network
import keras
import numpy as np

import kerasresnet as kr

ANSWERS = ("probabilities", "features", "maps", "scores")


def photos():
    """24 images of three classes that colour alone tells apart, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3
    images = rng.integers(0, 60, (24, 32, 32, 3), "uint8")
    images[np.arange(24), :, :, labels] += 150
    return images, labels


def train(folder):
    """Trains head and conv5, and keeps the model with what it answers."""
    keras.utils.set_random_seed(0)
    model = kr.build_classifier(
        3, backbone="small", weights=None, input_shape=(32, 32, 3)
    )
    settings = {"precision": "float32", "cache": "memory", "verbose": 0}
    kr.probe(model, photos(), **settings)
    kr.fine_tune(model, photos(), from_stage="conv5", epochs=1, **settings)
    folder = Path(folder)
    folder.mkdir()
    model.save(folder / "model.keras")
    keep(model, folder / "answers.npz")


def ask(folder, file):
    """Loads a model, and keeps what it answers."""
    keep(kr.load(Path(folder) / "model.keras"), file)


def keep(model, file):
    images, labels = photos()
    maps = kr.grad_cam(model, images[:6], stage="conv4")
    np.savez(
        file,
        probabilities=model.predict(images, verbose=0),
        features=kr.extract_features(
            model, images, precision="float32", cache="memory", verbose=0
        ),
        maps=np.stack([each.values for each in maps]),
        scores=model.evaluate(images, labels, verbose=0),
    )


if __name__ == "__main__":
    assert conftest
    keras.utils.disable_interactive_logging()
    for line in sys.stdin:
        task, *arguments = line.split()
        {"train": train, "ask": ask}[task](*arguments)
        print("done", task, flush=True)
