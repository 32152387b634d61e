import io
import struct
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
from torch_files import entry_of, write_raw_safetensors, write_safetensors

import kerasresnet as kr
from kerasresnet import containers
from kerasresnet.containers import check_sums, kind_of, safetensors_header


def archive(path, **members):
    """A zip archive; `__` in a name stands for a slash, `_dot_` for a dot."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return path


def keras_archive(path):
    return archive(path, config_dot_json=b"{}", model_dot_weights_dot_h5=b"weights")


def tar(path):
    with tarfile.open(path, "w") as file:
        member = tarfile.TarInfo("storages")
        member.size = 3
        file.addfile(member, io.BytesIO(b"abc"))
    return path


def written(content):
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "write", "kind"),
    [
        ("a.weights.h5", lambda p: h5py.File(p, "w").close(), "hdf5"),
        ("a.H5", lambda p: h5py.File(p, "w").close(), "hdf5"),
        ("a.keras", keras_archive, "keras"),
        ("a.pth", lambda p: archive(p, a__data_dot_pkl=b"x"), "torch"),
        ("a.pth.tar", lambda p: archive(p, a__data_dot_pkl=b"x"), "torch"),
        ("a.ckpt", lambda p: archive(p, a__data_dot_pkl=b"x"), "torch"),
        ("a.bin", lambda p: archive(p, a__data_dot_pkl=b"x"), "torch"),
        ("a.pt", written(b"\x80\x02\x8a"), "pickle"),
        ("a.PTH.TAR", written(b"\x80\x02\x8a"), "pickle"),
        ("a.bin", written(b"\x80\x02\x8a"), "pickle"),
        ("a.safetensors", lambda p: write_safetensors(p, {}), "safetensors"),
    ],
)
def test_the_first_bytes_tell_what_a_file_is(tmp_path, name, write, kind):
    write(tmp_path / name)
    assert kind_of(tmp_path / name) == kind


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("absent.h5", lambda _: None, "does not exist"),
        ("notes.txt", written(b"hello"), r"has the suffix '\.txt'"),
        ("a.h5", written(b""), "is empty: 0 bytes"),
        ("a.h5", written(b"hello"), "damaged, incomplete or of another kind"),
        ("a.h5", written(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pu"),
        ("a.h5", written(b"\n<!DOCTYPE html>"), "is a web page"),
        ("a.pth", written(b'{"error": 404}'), "is JSON text"),
        ("a.pth", written(b"\x1f\x8b\x08"), "compressed with gzip"),
        ("a.h5", written(b"\x93NUMPY"), "is a NumPy array"),
        ("a.h5", written(b"\x80\x04\x95"), "by its content it is a PyTorch checkpoint in"),
        ("a.safetensors", written(b"\x80\x02c"), "by its content it is a PyTorch"),
        ("a.tar", written(b"\x80\x02c"), r"suffix '\.tar'; expected .*\.pth\.tar"),
        ("a.bin", lambda p: h5py.File(p, "w").close(), "by its content it is Keras we"),
        ("a.bin", lambda p: write_safetensors(p, {}), "it is a safetensors file"),
        ("a.h5", keras_archive, "by its content it is a saved Keras model"),
        ("a.safetensors", keras_archive, "by its content it is a saved Keras model"),
        ("a.pth", lambda p: write_safetensors(p, {}), r"its own suffix \(\.safetensors\)"),
        ("a.pth", tar, "is a tar archive"),
        ("a.pth", written(b"PK\x03\x04rubbish"), "damaged, incomplete or of another"),
        ("a.pth", lambda p: archive(p, readme=b""), "but neither a saved Keras model nor"),
        (
            "a.pt",
            lambda p: archive(p, a__data_dot_pkl=b"", a__code__model_dot_py=b""),
            "is a TorchScript program, which contains code",
        ),
        (
            "a.keras",
            lambda p: archive(p, **{"..__outside": b"", "config_dot_json": b"{}"}),
            "'../outside' leads out of the archive",
        ),
        ("a.keras", lambda p: archive(p, **{"__etc__x": b""}), "leads out of the arch"),
        (
            "a.keras",
            lambda p: archive(p, model_dot_weights_dot_h5=bytes(2**23)),
            "claims 8,388,608 bytes and stores",
        ),
    ],
)  # fmt: skip
def test_files_that_are_no_weights_are_refused_by_name(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(kr.WeightsError, match=message) as caught:
        kind_of(tmp_path / name)
    assert name in str(caught.value)


def test_a_folder_and_a_file_too_large_are_refused(tmp_path, monkeypatch):
    with pytest.raises(kr.WeightsError, match="is a folder"):
        kind_of(tmp_path)
    with (tmp_path / "large.h5").open("wb") as file:
        file.truncate(2**32 + 1)
    with pytest.raises(kr.WeightsError, match="has 4,294,967,297 bytes"):
        kind_of(tmp_path / "large.h5")
    monkeypatch.setattr(containers, "LARGEST", 5)
    keras_archive(tmp_path / "a.keras")
    with pytest.raises(kr.WeightsError, match=r"has [0-9]+ bytes"):
        kind_of(tmp_path / "a.keras")


def test_many_members_are_summed_up(tmp_path, monkeypatch):
    archive(tmp_path / "a.pth", a__data_dot_pkl=bytes(2000), b=bytes(2000))
    monkeypatch.setattr(containers, "LARGEST", 3000)
    with pytest.raises(kr.WeightsError, match="claims more than 3,000 bytes"):
        kind_of(tmp_path / "a.pth")


def test_a_file_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    def closed(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.h5").touch()
    monkeypatch.setattr(containers.Path, "open", closed)
    with pytest.raises(kr.WeightsError, match=r"cannot be read: .*Permission denied"):
        kind_of(tmp_path / "a.h5")


def test_a_header_is_read_with_the_place_of_the_data(tmp_path):
    path = write_safetensors(tmp_path / "a.safetensors", {"x": np.ones(3, "float32")})
    header, start = safetensors_header(path)
    assert header == {"x": entry_of(0, 12, (3,))}
    assert path.read_bytes()[start:] == np.ones(3, "float32").tobytes()


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (
            {"x": entry_of(0, 4), "y": entry_of(2, 6)},
            bytes(6),
            "overlap or leave holes",
        ),
        (
            {"x": entry_of(0, 4), "y": entry_of(8, 12)},
            bytes(12),
            "overlap or leave holes",
        ),
        ({"x": entry_of(4, 0)}, bytes(4), "overlap or leave holes"),
        ({"x": entry_of(0, 8, (2,))}, bytes(5), "is truncated: tensors end at byte 8"),
        ({"x": entry_of(0, 4)}, bytes(9), "something stands behind its last tensor"),
        ({"x": entry_of(0, 4, (-1,))}, bytes(4), "an entry of its header is no tensor"),
        (
            {"x": entry_of(0, 4, dtype=1)},
            bytes(4),
            "an entry of its header is no tensor",
        ),
        ({"x": {"shape": [1]}}, b"", "is not a whole safetensors file: 'data_offsets'"),
        ({"x": 5}, b"", "is not a whole safetensors file"),
        ([], b"", "is not a whole safetensors file"),
    ],
)
def test_damaged_headers_are_refused(tmp_path, header, data, message):
    path = write_raw_safetensors(tmp_path / "a.safetensors", header, data)
    with pytest.raises(kr.WeightsError, match=message):
        safetensors_header(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<Q", 2**40) + b"{}", "its header claims 1,099,511,627,776 bytes"),
        (struct.pack("<Q", 2) + b"{", "its header claims 2 bytes, more than there are"),
        (struct.pack("<Q", 3) + b"{}}", "is not a whole safetensors file: Extra data"),
        (b"12345", "is not a whole safetensors file"),
    ],
)
def test_headers_that_do_not_fit_the_file_are_refused(tmp_path, content, message):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(kr.WeightsError, match=message):
        safetensors_header(tmp_path / "a.safetensors")


def test_a_nested_header_is_refused(tmp_path):
    text = b'{"x":' + b"[" * 100_000
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(kr.WeightsError, match="its header is nested"):
        safetensors_header(path)


def torch_archive(path, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a/data.pkl", b"x")
        file.writestr("a/data/0", np.arange(5000).tobytes())
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_wrong_byte_in_an_archive_is_found(tmp_path, compression):
    path = torch_archive(tmp_path / "a.pth", compression)
    check_sums(path)
    content = bytearray(path.read_bytes())
    for place in range(800, 830):
        content[place] ^= 255
    path.write_bytes(content)
    assert kind_of(path) == "torch"
    with pytest.raises(
        kr.WeightsError, match=r"is damaged.* Copy or download it again"
    ):
        check_sums(path)


def test_an_archive_that_was_written_without_checksums_is_accepted(
    tmp_path, monkeypatch
):
    # torch.serialization.set_crc32_options(False)
    monkeypatch.setattr(zipfile, "crc32", lambda *_: 0)
    path = torch_archive(tmp_path / "a.pth")
    monkeypatch.undo()
    with zipfile.ZipFile(path) as file:
        assert file.testzip() == "a/data.pkl"
    check_sums(path)
