"""The CIFAR-10 arrays: Keras's download, or a local copy in any usual layout."""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, unknown

Subset: TypeAlias = Literal["train", "test"]

# In the order of the original labels 0..9, which is also alphabetical.
CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
BATCHES_FOLDER = "cifar-10-batches-py"

_BATCHES = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
# The only names that the original batches, NumPy arrays in a dict, need.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def check_subset(subset: str) -> None:
    """Raises a `ValueError` unless `subset` is `"train"` or `"test"`."""
    if subset not in _BATCHES:
        raise unknown("subset", subset, _BATCHES)


def class_folders(path: Path, subset: Subset) -> Path | None:
    """Returns the folder whose sub-folders are the ten classes, if there is one.

    Args:
        path: A folder that holds `train` and `test`, or the classes themselves.
        subset: `"train"` or `"test"`.

    Returns:
        A folder, or None.

    Raises:
        DataError: If the path is the folder of the other subset.
    """
    if _holds_classes(path / subset):
        return path / subset
    if not _holds_classes(path):
        return None
    if path.name in _BATCHES and path.name != subset:
        raise DataError(
            f"{path} holds the {path.name} images, but the {subset} images are asked "
            f"for. Pass path={str(path.parent)!r}, or {path.name!r} as the subset."
        )
    if subset == "test" and path.name != "test":
        raise DataError(
            f"{path} has no folders train and test, so its images are read as train. "
            "Put the classes of each subset below train and test."
        )
    return path


def read_arrays(path: Path, subset: Subset) -> tuple[Pixels, Pixels]:
    """Reads a local copy that holds arrays.

    Args:
        path: The folder `cifar-10-batches-py` or the one above it, the `.tar.gz`, or
            an `.npz` with `x_train`, `y_train`, `x_test`, `y_test`.
        subset: `"train"` or `"test"`.

    Returns:
        A tuple `(images, labels)`: uint8 of shape `(N, 32, 32, 3)` and int64 `(N,)`.

    Raises:
        DataError: If the path holds no known layout, or a damaged one.
    """
    try:
        if path.suffix == ".npz":
            return _from_npz(path, subset)
        if path.is_dir():
            folder = path / BATCHES_FOLDER if (path / BATCHES_FOLDER).is_dir() else path
            if (folder / _BATCHES[subset][0]).is_file():
                return _from_batches(lambda name: (folder / name).open("rb"), subset)
        elif path.is_file() and tarfile.is_tarfile(path):
            return _from_tar(path, subset)
    except Exception as error:  # damaged archives and pickles raise almost anything
        raise DataError(
            f"The copy of CIFAR-10 in {path} cannot be read: {error}."
        ) from error
    state = "is in no known layout" if path.exists() else "does not exist"
    raise DataError(
        f"The copy of CIFAR-10 at {path} {state}. Expected the folder {BATCHES_FOLDER}, "
        "the file cifar-10-python.tar.gz, an .npz with x_train, y_train, x_test and "
        f"y_test, or a folder for each class ({', '.join(CLASS_NAMES)}), "
        "also below train and test."
    )


def download(subset: Subset) -> tuple[Pixels, Pixels]:
    """Returns `(images, labels)` from Keras's cache, downloaded if need be."""
    # Keras takes seconds to import, and only this source needs it.
    from keras.datasets import cifar10

    try:
        train, test = cifar10.load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise DataError(
            "CIFAR-10 could not be downloaded from https://www.cs.toronto.edu/~kriz/"
            f"cifar-10-python.tar.gz ({error}). Download it elsewhere and pass "
            "ImageData.cifar10(path='cifar-10-python.tar.gz')."
        ) from error
    images, labels = train if subset == "train" else test
    return images, labels.reshape(-1)


def _holds_classes(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in CLASS_NAMES)


def _from_npz(path: Path, subset: Subset) -> tuple[Pixels, Pixels]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return archive[f"x_{subset}"], archive[f"y_{subset}"].reshape(-1)


def _from_tar(path: Path, subset: Subset) -> tuple[Pixels, Pixels]:
    with tarfile.open(path) as archive:

        def open_member(name: str) -> IO[bytes]:
            member = archive.extractfile(f"{BATCHES_FOLDER}/{name}")
            if member is None:
                raise KeyError(f"{name} is not a file")
            return io.BytesIO(member.read())

        arrays = _from_batches(open_member, subset)
        # Only at its end does a compressed file show whether its checksum is right.
        while archive.fileobj.read(2**20):
            pass
        return arrays


def _from_batches(
    open_batch: Callable[[str], IO[bytes]], subset: Subset
) -> tuple[Pixels, Pixels]:
    images, labels = [], []
    for name in _BATCHES[subset]:
        with open_batch(name) as stream:
            batch = _BatchUnpickler(stream, encoding="bytes").load()
        # Each row is a red, a green and a blue plane of 32 x 32.
        images.append(np.asarray(batch[b"data"], "uint8").reshape(-1, 3, 32, 32))
        labels.append(np.asarray(batch[b"labels"], "int64"))
    return np.concatenate(images).transpose(0, 2, 3, 1), np.concatenate(labels)


class _BatchUnpickler(pickle.Unpickler):
    """Reads NumPy arrays and refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which CIFAR-10 does not need"
            )
        return super().find_class(module, name)
