"""Writing the weights of a backbone to a file that says what they are.

Such files are read in `keras_files`.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import IO

import h5py
import keras

from kerasresnet.backbones import stage_end
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.disk import write_aside
from kerasresnet.errors import WeightsError
from kerasresnet.keras_files import NOTES

# HDF5 takes 64 KiB in an attribute.
_PIECE = 60_000


def save_backbone(
    model: Classifier, path: str | Path, *, include_top: bool = False
) -> Path:
    """Saves the weights of a model's backbone to a file that `weights=path` takes.

    Keras's own `load_weights` takes it, too, on the same graph. The file also says which
    backbone, stem and preprocessing the weights are for, the image size, and the class
    names, if the model has them.

    Args:
        model: A `Classifier`.
        path: A file whose name ends in `.weights.h5`. One that is there is replaced when
            the new one is whole.
        include_top: Whether the head is saved, too.

    Returns:
        The path.

    Raises:
        ValueError: If `model` is no `Classifier`, or the name ends otherwise.
        WeightsError: If the folder does not exist, or the file cannot be written.

    Example:

    >>> model = kr.build_classifier(num_classes=5, backbone="resnet18", weights=None)
    >>> path = kr.save_backbone(model, "trunk.weights.h5")
    >>> again = kr.build_classifier(num_classes=7, backbone="resnet18", weights=path)
    """
    check_classifier(model)
    file = Path(path)
    if not file.name.endswith(".weights.h5"):
        raise ValueError(
            f"path must end in '.weights.h5', as Keras asks, received {file.name!r}."
        )
    if not file.parent.is_dir():
        raise WeightsError(
            f"{file} cannot be written: the folder {file.parent.absolute()} does not exist. "
            "Make it first."
        )
    output = model.output if include_top else stage_end(model, "conv5").output
    saved = keras.Model(model.input, output)

    def write(target: IO[bytes]) -> None:
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            written = Path(folder) / "aside.weights.h5"
            saved.save_weights(written)
            _annotate(written, model)
            with written.open("rb") as source:
                shutil.copyfileobj(source, target)

    try:
        write_aside(file, write)
    except OSError as error:
        raise WeightsError(f"{file} cannot be written: {error}.") from error
    return file


def _annotate(path: Path, model: Classifier) -> None:
    notes = {
        "backbone": model.backbone,
        "stem": model.stem,
        "preprocessing": model.preprocessing,
        "image_size": list(model.image_size),
    }
    if model.named:
        notes["class_names"] = list(model.class_names)
    text = json.dumps(notes)
    pieces = [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]
    with h5py.File(path, "r+") as file:
        for number, piece in enumerate(pieces):
            # In the order of their names.
            file.attrs[f"{NOTES}.{number:03d}" if number else NOTES] = piece
