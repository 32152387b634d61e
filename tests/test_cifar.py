"""CIFAR-10 is the same in every layout, and no file gets to run code."""

import io
import pickle
import tarfile

import numpy as np
import pytest
from keras.datasets import cifar10
from PIL import Image

import kerasresnet as kr
from kerasresnet.cifar import BATCHES_FOLDER, CLASS_NAMES

BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4")
BATCHES = (*BATCHES, "data_batch_5", "test_batch")


@pytest.fixture
def arrays():
    """Two images of each class for training, sorted by class, and one for testing."""
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), "uint8")
    labels = np.array([*np.repeat(np.arange(10), 2), *np.arange(10)])
    return {"train": (images[:20], labels[:20]), "test": (images[20:], labels[20:])}


def pickled(images, labels):
    """A batch as the original is written: Python 2's protocol, NumPy's old module."""
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(-1, 3072)
    batch = {b"data": planes, b"labels": labels.tolist()}
    text = pickle.dumps(batch, protocol=2)
    return text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_batches(folder, arrays):
    folder.mkdir()
    for i, name in enumerate(BATCHES):
        images, labels = arrays["test" if name == "test_batch" else "train"]
        part = slice(4 * i, 4 * i + 4) if name != "test_batch" else slice(None)
        (folder / name).write_bytes(pickled(images[part], labels[part]))
    return folder


def write_tar(folder, arrays):
    batches = write_batches(folder / BATCHES_FOLDER, arrays)
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(batches, BATCHES_FOLDER)
    return folder / "cifar-10-python.tar.gz"


def write_npz(folder, arrays):
    (x_train, y_train), (x_test, y_test) = arrays["train"], arrays["test"]
    path = folder / "cifar10.npz"
    columns = {"y_train": y_train[:, None], "y_test": y_test[:, None]}
    np.savez(path, x_train=x_train, x_test=x_test, **columns)
    return path


def write_folders(folder, arrays):
    for subset, (images, labels) in arrays.items():
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / subset / CLASS_NAMES[label] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return folder


LAYOUTS = {
    "batches": lambda folder, arrays: write_batches(folder / BATCHES_FOLDER, arrays),
    "its parent": lambda *args: write_tar(*args).parent,
    "renamed": lambda folder, arrays: write_batches(folder / "my copy", arrays),
    "tar": write_tar,
    "npz": write_npz,
    "class folders": write_folders,
}


def same(data, images, labels):
    batches = kr.make_dataset(data, image_size=(32, 32), batch_size=7)
    read = [np.concatenate(part) for part in zip(*batches, strict=True)]
    np.testing.assert_array_equal(read[0], images)
    np.testing.assert_array_equal(read[1], labels)
    assert data.class_names == CLASS_NAMES


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_equal_images_and_labels(layout, arrays, tmp_path):
    path = LAYOUTS[layout](tmp_path, arrays)
    for subset in ("train", "test"):
        same(kr.ImageData.cifar10(subset, path=path), *arrays[subset])


def test_class_folders_are_found_without_train_and_test_above_them(arrays, tmp_path):
    path = str(write_folders(tmp_path, arrays) / "train")
    same(kr.ImageData.cifar10("train", path=path), *arrays["train"])


def test_keras_download_is_the_default(arrays, monkeypatch):
    pair = [(images, labels[:, None]) for images, labels in arrays.values()]
    monkeypatch.setattr(cifar10, "load_data", lambda: pair)
    same(kr.ImageData.cifar10(), *arrays["train"])
    same(kr.ImageData.cifar10("test"), *arrays["test"])


def test_a_failed_download_says_how_to_go_on(monkeypatch):
    def fail():
        raise Exception("URL fetch failure: no route to host")  # as Keras does

    monkeypatch.setattr(cifar10, "load_data", fail)
    with pytest.raises(kr.DataError, match=r"could not be downloaded.*cifar10\(path="):
        kr.ImageData.cifar10()


def test_an_unknown_subset_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match=r"Unknown subset 'training'.*mean 'train'"):
        kr.ImageData.cifar10("training", path="nowhere")


class Attack:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def test_a_pickle_that_wants_to_run_a_command_is_refused_unread(arrays, tmp_path):
    folder = write_batches(tmp_path / BATCHES_FOLDER, arrays)
    loot = tmp_path / "loot"
    attack = pickle.dumps(Attack(f"touch '{loot}'"), protocol=2)
    (folder / "test_batch").write_bytes(attack)
    with pytest.raises(kr.DataError, match=r"it asks for \w+\.system, which"):
        kr.ImageData.cifar10("test", path=folder)
    assert not loot.exists()


def test_an_npz_of_objects_is_refused_unread(tmp_path):
    loot = tmp_path / "loot"
    images = np.array([Attack(f"touch '{loot}'")], object)
    np.savez(tmp_path / "a.npz", x_test=images, y_test=np.zeros(1))
    with pytest.raises(kr.DataError, match="allow_pickle"):
        kr.ImageData.cifar10("test", path=tmp_path / "a.npz")
    assert not loot.exists()


@pytest.mark.parametrize("layout", ["npz", "tar"])
def test_a_file_cut_anywhere_is_a_data_error(layout, arrays, tmp_path):
    path = LAYOUTS[layout](tmp_path, arrays)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 100, len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(kr.DataError, match="CIFAR-10"):
            kr.ImageData.cifar10("test", path=path)


def test_damaged_compression_is_a_data_error(arrays, tmp_path):
    path = write_tar(tmp_path, arrays)
    whole = bytearray(path.read_bytes())
    for start in range(len(whole) // 2, len(whole) - 200, len(whole) // 40):
        path.write_bytes(whole[:start] + b"\xff" * 64 + whole[start + 64 :])
        with pytest.raises(kr.DataError, match="cannot be read"):
            kr.ImageData.cifar10("train", path=path)


@pytest.mark.parametrize(
    "batch", [b"", b"(l.", b"N.", b"\x80\x02}q\x00.", b"junk", b"t.", b"I1\n0."]
)
def test_a_damaged_batch_is_a_data_error(batch, arrays, tmp_path):
    folder = write_batches(tmp_path / BATCHES_FOLDER, arrays)
    (folder / "data_batch_3").write_bytes(batch)
    with pytest.raises(kr.DataError, match="cannot be read"):
        kr.ImageData.cifar10(path=folder)


def test_a_missing_batch_is_a_data_error(arrays, tmp_path):
    folder = write_batches(tmp_path / BATCHES_FOLDER, arrays)
    (folder / "data_batch_4").unlink()
    with pytest.raises(kr.DataError, match="data_batch_4"):
        kr.ImageData.cifar10(path=folder)


def test_a_tar_with_a_folder_for_a_batch_is_a_data_error(tmp_path):
    path = tmp_path / "odd.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(f"{BATCHES_FOLDER}/test_batch")
        member.type = tarfile.DIRTYPE
        archive.addfile(member, io.BytesIO())
    with pytest.raises(kr.DataError, match="test_batch is not a file"):
        kr.ImageData.cifar10("test", path=path)


@pytest.mark.parametrize("name", ["folder", "file.bin", "absent"])
def test_what_is_no_copy_is_answered_with_the_layouts_that_are_read(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.bin").write_bytes(b"?")
    state = "does not exist" if name == "absent" else "is in no known layout"
    with pytest.raises(kr.DataError, match=f"{name} {state}. Expected the folder"):
        kr.ImageData.cifar10(path=tmp_path / name)


def test_real_cifar10_has_its_classes_in_equal_numbers(real_data):
    data = kr.ImageData.cifar10("test", path=real_data / "cifar10")
    assert data.class_names == CLASS_NAMES
    assert len(set(data.counts().values())) == 1
