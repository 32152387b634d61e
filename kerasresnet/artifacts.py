"""Saved classifiers: which files are, and how they come back."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import cast

import keras

from kerasresnet.classifier import Classifier
from kerasresnet.errors import ArtifactError


def load(path: str | Path) -> Classifier:
    """Loads a saved classifier, with its class names, flags and optimizer.

    Args:
        path: A `.keras` file that `model.save` or `ModelCheckpoint` wrote.

    Returns:
        A `Classifier` with the same outputs, bit for bit.

    Raises:
        ArtifactError: If the file is absent, damaged, or not a classifier of this library.

    Example:

    >>> model = kr.build_classifier(class_names=["cat", "dog"], weights=None)
    >>> model.save("pets.keras")
    >>> kr.load("pets.keras").class_names
    ('cat', 'dog')
    """
    file = Path(path)
    _check_artifact(file)
    try:
        return cast("Classifier", keras.saving.load_model(file))
    except Exception as error:  # Keras raises many kinds for a damaged file
        if "Could not locate" in str(error):
            raise ArtifactError(
                f"{file} was compiled with a loss or metric that this process does not know. "
                "Decorate it with @keras.saving.register_keras_serializable() and import it "
                f"first. Keras says: {str(error).partition(' Make sure')[0]}"
            ) from error
        raise ArtifactError(
            f"{file} is damaged and cannot be loaded: {error}"
        ) from error


def _check_artifact(file: Path) -> None:
    if file.is_dir():
        inside = (
            " Pass the model.keras in it." if (file / "model.keras").is_file() else ""
        )
        raise ArtifactError(f"{file} is a folder, expected a .keras file.{inside}")
    if not file.is_file():
        raise ArtifactError(f"There is no file {file}.")
    try:
        with zipfile.ZipFile(file) as archive:
            name = json.loads(archive.read("config.json"))["registered_name"]
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        TypeError,
        ValueError,
        OSError,
    ) as error:
        raise ArtifactError(
            f"{file} is not a .keras file, or it is truncated: {error}."
        ) from error
    if name != "kerasresnet>Classifier":
        raise ArtifactError(
            f"{file} is a Keras model, but not a kerasresnet classifier. "
            "keras.saving.load_model reads it; if it is a ResNet50, "
            "build_classifier(weights=path) takes over its weights."
        )
