import hashlib

import pytest
from keras.src.applications import resnet

from kerasresnet.catalogue import ARCHITECTURES
from kerasresnet.releases import (
    PINNED,
    PINNED_V2,
    PublishedFile,
    backbones_of,
    cache_folder,
    cached,
    is_cached,
    published,
    published_as,
    releases,
    torch_folder,
)


def test_names_and_digests_of_keras_files_are_those_of_keras():
    for (backbone, top), file in PINNED.items():
        if not file.is_torch:
            assert file.md5 == resnet.WEIGHTS_HASHES[backbone][0 if top else 1]
            assert file.base == resnet.BASE_WEIGHTS_PATH
            assert file.name.endswith("kernels.h5" if top else "kernels_notop.h5")


def test_every_network_has_published_weights():
    assert {name for name, _ in PINNED} == set(ARCHITECTURES)


def test_the_digits_in_a_name_of_torch_begin_its_digest():
    for file in releases():
        if file.is_torch:
            digits = file.name.removesuffix(".pth").rpartition("-")[2]
            assert len(digits) == 8
            assert file.sha256.startswith(digits)
            assert len(file.sha256) in (8, 64)


def test_a_torch_file_serves_with_and_without_the_head():
    for table in (PINNED, PINNED_V2):
        for (backbone, top), file in table.items():
            if file.is_torch:
                assert table[backbone, not top] is file
    assert backbones_of(PINNED["resnet18", True]) == ("resnet18v1.5", "resnet18")


def test_names_without_published_weights_say_which_have_them():
    assert published("resnet50v1.5", generation="imagenet_v2").name.endswith("6.pth")
    with pytest.raises(
        ValueError, match="not published for backbone 'resnet18', but f"
    ):
        published("resnet18", generation="imagenet_v2")
    with pytest.raises(ValueError, match="not published for backbone 'small'"):
        published("small")
    with pytest.raises(ValueError, match="Unknown weights 'imagenet_v3'"):
        published("resnet50", generation="imagenet_v3")


@pytest.mark.parametrize(
    ("file", "difference"),
    [
        (PublishedFile("x", md5=hashlib.md5(b"abc").hexdigest()), ""),
        (PublishedFile("x", sha256=hashlib.sha256(b"abc").hexdigest()), ""),
        (PublishedFile("x", sha256=hashlib.sha256(b"abc").hexdigest()[:8]), ""),
        (PublishedFile("x", md5="0" * 32), "its MD5 is 900150983cd24fb0"),
        (PublishedFile("x", sha256="0" * 8), "its SHA-256 is ba7816bf8f01cfea"),
        (PublishedFile("x", sha256="0" * 8, size=4), "it has 3 bytes, expected 4"),
    ],
)
def test_a_file_is_compared_by_size_and_digest(tmp_path, file, difference):
    (tmp_path / "x").write_bytes(b"abc")
    assert file.difference(tmp_path / "x").startswith(difference)
    assert bool(file.difference(tmp_path / "x")) == bool(difference)


def test_a_published_file_is_known_under_any_name(tmp_path, monkeypatch):
    file = PublishedFile("tiny.h5", hashlib.md5(b"weights").hexdigest())
    monkeypatch.setitem(PINNED, ("tiny", False), file)
    (tmp_path / "renamed (1).h5").write_bytes(b"weights")
    assert published_as(tmp_path / "renamed (1).h5") == file
    (tmp_path / "other.h5").write_bytes(b"others")
    assert published_as(tmp_path / "other.h5") is None


def test_the_folders_follow_their_variables(monkeypatch, tmp_path):
    for name in ("KERAS_HOME", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder().parts[-2:] == (".keras", "models")
    assert torch_folder().parts[-4:] == (".cache", "torch", "hub", "checkpoints")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert torch_folder() == tmp_path / "torch" / "hub" / "checkpoints"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "own"))
    assert torch_folder() == tmp_path / "own" / "hub" / "checkpoints"


def test_a_file_in_the_cache_of_torch_counts_as_cached(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert not is_cached("resnet18")
    torch_folder().mkdir(parents=True)
    file = PINNED["resnet18", False]
    (torch_folder() / file.name).touch()
    assert is_cached("resnet18")
    assert is_cached("resnet18v1.5", include_top=True)
    assert cached(file) == torch_folder() / file.name
    (torch_folder() / PINNED["resnet50", False].name).touch()
    assert not is_cached("resnet50")
