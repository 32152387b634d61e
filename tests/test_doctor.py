import hashlib
import os

import pytest
import tensorflow as tf

from kerasresnet import doctor
from kerasresnet.releases import PINNED, PublishedFile, cache_folder


@pytest.fixture
def machine(monkeypatch):
    """A Linux machine whose GPU, driver and libraries the test decides."""

    def build(gpus=(), driver=False, cuda_build=True, missing=()):
        monkeypatch.setattr(doctor.sys, "platform", "linux")
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(gpus))
        monkeypatch.setattr(
            doctor, "_opens", lambda library: driver and library not in missing
        )
        monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: cuda_build)

    return build


def test_the_findings_cover_versions_devices_and_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    found = doctor.examine()
    assert found["keras"].startswith("3.")
    assert "tensorflow" in found["backend"]
    assert "cores" in found["cpu"]
    assert found["weights cache"] == str(tmp_path / "models")
    assert found["weights cached"] == "none of the published files"


def test_damaged_weights_in_the_cache_are_found(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    cache_folder().mkdir()
    (cache_folder() / PINNED["resnet50", True].name).write_bytes(b"half")
    assert "is damaged: its MD5 is" in doctor.examine()["weights cached"]


def test_whole_weights_in_the_cache_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    cache_folder().mkdir()
    (cache_folder() / "tiny.h5").write_bytes(b"weights")
    md5 = hashlib.md5(b"weights").hexdigest()
    monkeypatch.setitem(PINNED, ("tiny", False), PublishedFile("tiny.h5", md5))
    assert doctor.examine()["weights cached"] == "tiny.h5, complete"


def test_a_seen_gpu_is_named(machine, monkeypatch):
    device = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    machine(gpus=[device])
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda _: {"device_name": "H100"}
    )
    assert doctor.gpu_state() == "TensorFlow sees 1: H100"


@pytest.mark.parametrize(
    ("state", "finding"),
    [
        ({}, "no NVIDIA driver"),
        ({"driver": True, "cuda_build": False}, "this TensorFlow is a CPU build"),
        ({"driver": True, "missing": ["libcudnn.so.9"]}, "cannot open libcudnn.so.9"),
        ({"driver": True}, "may be too old for CUDA 12"),
    ],
)
def test_what_keeps_a_gpu_away_is_named(machine, monkeypatch, state, finding):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine(**state)
    assert finding in doctor.gpu_state()


def test_a_hidden_gpu_is_named(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine(driver=True)
    assert "CUDA_VISIBLE_DEVICES='' hides its devices" in doctor.gpu_state()


def test_other_systems_are_told_where_gpus_work(machine, monkeypatch):
    machine()
    monkeypatch.setattr(doctor.sys, "platform", "win32")
    assert "WSL2" in doctor.gpu_state()


def test_libraries_of_pip_packages_count_as_present(machine, monkeypatch, tmp_path):
    machine(driver=True, missing=["libcudnn.so.9"])
    library = tmp_path / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.missing_gpu_libraries() == []


def test_a_package_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "_PACKAGES", ("no-such-package",))
    assert doctor.examine()["no-such-package"] == "not installed as a package"


@pytest.mark.parametrize(
    ("device", "finding"),
    [
        ("CPU with amx_bf16", "'auto' is bfloat16: CPU with amx_bf16"),
        (None, "'auto' is float32: no bfloat16 instructions"),
    ],
)
def test_the_precision_that_auto_chooses_is_told(monkeypatch, device, finding):
    monkeypatch.setattr(doctor, "bfloat16_device", lambda: device)
    assert finding in doctor.examine()["precision"]


def test_the_feature_cache_and_its_limit_are_told(monkeypatch, tmp_path):
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path))
    monkeypatch.setenv("KERASRESNET_CACHE_LIMIT", "1.5")
    assert doctor.examine()["feature cache"] == f"{tmp_path}, 1.5 GB at most"


def test_a_limit_that_is_no_number_is_a_finding(monkeypatch, tmp_path):
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path))
    monkeypatch.setenv("KERASRESNET_CACHE_LIMIT", "much")
    found = doctor.examine()["feature cache"]
    assert found.startswith(f"{tmp_path}; KERASRESNET_CACHE_LIMIT must be a number")


def test_a_cache_folder_that_cannot_be_written_is_a_finding(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "deeper"):
        monkeypatch.setenv("KERASRESNET_CACHE", str(root))
        found = doctor.examine()["feature cache"]
        assert f"{tmp_path / 'file'} is a file" in found
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path / "new" / "deeper"))
    assert "cannot" not in doctor.examine()["feature cache"]
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: mode == os.F_OK and allowed(path, mode)
    )
    assert f"{tmp_path} is closed to you" in doctor.examine()["feature cache"]
    assert not (tmp_path / "new").exists()


def test_another_backend_is_asked_for_its_own_devices(monkeypatch):
    monkeypatch.setattr(doctor, "backend", lambda: "jax")
    monkeypatch.setattr(doctor, "gpu", lambda: ("H100", (9, 0)))
    found = doctor.examine()
    assert found["gpu"] == "jax sees H100"
    assert "dtype policy" in found["precision"]
    monkeypatch.setattr(doctor, "gpu", lambda: None)
    assert doctor.gpu_state() == "jax sees none"
