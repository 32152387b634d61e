import hashlib
import subprocess
import sys

import h5py
import numpy as np
import pytest
from torch_files import state_dict, write_safetensors

import kerasresnet as kr
from kerasresnet import inventory
from kerasresnet.cli import main
from kerasresnet.downloads import MIRROR
from kerasresnet.releases import PINNED, PublishedFile, cache_folder, torch_folder


@pytest.fixture
def folders(monkeypatch, tmp_path):
    """Empty caches, and one published file: a checkpoint of ResNet18 in miniature."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv(MIRROR, raising=False)
    path = write_safetensors(tmp_path / "given.safetensors", state_dict(18, 10))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    base = PINNED["resnet18", True].base
    file = PublishedFile("tiny.safetensors", sha256=digest, base=base)
    monkeypatch.setitem(PINNED, ("resnet18v1.5", True), file)
    return tmp_path


def run(capsys, *arguments):
    code = main(["weights", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_an_import_is_listed_and_verified(folders, capsys):
    code, said = run(capsys, "import", folders / "given.safetensors")
    assert code == 0
    assert "imported" in said
    assert "for backbone resnet18v1.5" in said
    assert [p.name for p in cache_folder().iterdir()] == ["tiny.safetensors"]
    _, listed = run(capsys, "list")
    (row,) = [line for line in listed.splitlines() if line.startswith("tiny")]
    assert row.split() == ["tiny.safetensors", "44.8", "MB", "Keras", "resnet18v1.5"]
    code, said = run(capsys, "verify")
    assert (code, "complete, SHA-256" in said) == (0, True)
    _, said = run(capsys, "import", folders / "given.safetensors")
    assert "is there already, and complete" in said


def test_an_import_mends_a_damaged_file(folders, capsys):
    cache_folder().mkdir(parents=True)
    (cache_folder() / "tiny.safetensors").write_bytes(b"half")
    code, said = run(capsys, "verify")
    assert code == 1
    assert "damaged: its SHA-256 is" in said
    assert run(capsys, "import", folders / "given.safetensors")[0] == 0
    assert run(capsys, "verify")[0] == 0


def test_an_unknown_file_is_not_imported(folders, capsys):
    path = write_safetensors(folders / "own.safetensors", {"x": np.ones(1, "float32")})
    code, said = run(capsys, "import", path)
    assert code == 1
    assert "is none of the published files" in said
    assert "weights='path/to/file'" in said
    assert not cache_folder().exists()


def test_a_file_with_a_borrowed_name_is_not_recommended(folders, capsys):
    path = folders / "tiny.safetensors"
    write_safetensors(path, {"x": np.ones(1, "float32")})
    code, said = run(capsys, "import", path)
    assert code == 1
    assert "is damaged or is another file: its SHA-256 is" in said
    assert "do not use it" in said
    assert "weights=" not in said


def test_a_file_that_is_absent_is_said_to_be_so(folders, capsys):
    for action in ("import", "verify"):
        code, said = run(capsys, action, folders / "absent.h5")
        assert (code, "does not exist" in said) == (1, True)
        assert "imagenet" not in said


def test_what_is_left_out_and_variances_below_zero_are_listed(folders, capsys):
    tensors = state_dict(18) | {"aux_head.weight": np.ones(3, "float32")}
    tensors["bn1.running_var"][0] = -1
    path = write_safetensors(folders / "a.safetensors", tensors)
    code, said = run(capsys, "verify", path)
    found = findings(said)
    assert code == 1
    assert found["left out"] == "1 tensor: aux_head.weight"
    assert found["wrong"] == "variances below 0 at layer 'conv1_bn'"


def test_a_cache_that_cannot_be_written_is_told(folders, capsys, monkeypatch):
    (folders / "keras").touch()
    code, said = run(capsys, "import", folders / "given.safetensors")
    assert (code, "cannot be written" in said) == (1, True)
    assert "is a file" in run(capsys, "where")[1]
    (folders / "keras").unlink()
    allowed = inventory.os.access
    monkeypatch.setattr(
        inventory.os,
        "access",
        lambda path, mode: mode == inventory.os.F_OK and allowed(path, mode),
    )
    assert "is closed to you" in run(capsys, "where")[1]


def test_the_places_name_their_variables(folders, capsys, monkeypatch):
    monkeypatch.setenv(MIRROR, "https://mirror.example.org")
    _, said = run(capsys, "where")
    assert f"{cache_folder()} (KERAS_HOME)" in said
    assert f"{torch_folder()} (TORCH_HOME)" in said
    assert f"https://mirror.example.org ({MIRROR})" in said
    monkeypatch.delenv("TORCH_HOME")
    assert "(TORCH_HOME is not set)" in run(capsys, "where")[1]


def test_broken_downloads_and_files_of_torch_are_listed(folders, capsys):
    assert "none of the published files is in" in run(capsys, "verify")[1]
    cache_folder().mkdir(parents=True)
    (cache_folder() / "tiny.safetensors.part").write_bytes(b"half")
    torch_folder().mkdir(parents=True)
    (folders / "given.safetensors").rename(torch_folder() / "tiny.safetensors")
    _, said = run(capsys, "list")
    assert "tiny.safetensors.part: 4 B of a download that broke" in said
    assert "torch  resnet18v1.5" in said
    assert "download that broke" in run(capsys, "verify")[1]


def findings(said):
    pairs = [line.partition("  ") for line in said.splitlines()]
    return {subject: text.strip() for subject, _, text in pairs}


def test_a_checkpoint_is_described(folders, capsys):
    code, said = run(capsys, "verify", folders / "given.safetensors")
    found = findings(said)
    assert code == 0
    assert found["kind"] == "a safetensors file"
    assert found["backbone"] == "resnet18v1.5, and resnet18 (turned into it exactly)"
    assert found["stem"] == "imagenet"
    assert found["preprocessing"] == "torch"
    assert found["head"] == "10 classes"
    assert found["parameters"] == "11,186,112 without the head"
    assert found["numbers"] == "float32"
    assert found["published as"].endswith("/tiny.safetensors")
    content = (folders / "given.safetensors").read_bytes()
    assert found["SHA-256"] == hashlib.sha256(content).hexdigest()


def test_a_file_of_ours_is_described(folders, capsys):
    model = kr.build_classifier(
        class_names=["cat", "dog"], backbone="resnet18", weights=None
    )
    path = kr.save_backbone(model, folders / "a.weights.h5", include_top=True)
    found = findings(run(capsys, "verify", path)[1])
    assert found["kind"] == "Keras weights (HDF5)"
    assert found["backbone"] == "resnet18"
    assert found["head"] == "2 classes"
    assert found["trained on"] == "2 classes: cat, dog"
    assert found["image size"] == "224x224 px"
    assert found["published as"] == "unknown: none of the published files"


def test_a_file_of_no_known_network_is_described(folders, capsys, small):
    path = folders / "a.weights.h5"
    small().save_weights(path)
    found = findings(run(capsys, "verify", path)[1])
    assert found["backbone"].startswith("unknown: none of")
    assert (found["stem"], found["preprocessing"]) == ("unknown", "unknown")


def test_nan_and_a_borrowed_name_are_found(folders, capsys, small):
    path = folders / PINNED["resnet50", True].name
    small().save_weights(folders / "a.weights.h5")
    (folders / "a.weights.h5").rename(path)
    with h5py.File(path, "a") as file:
        file["layers/conv2d/vars/1"][0] = np.nan
    code, said = run(capsys, "verify", path)
    found = findings(said)
    assert code == 1
    assert "though it has the name of one: its MD5 is" in found["published as"]
    assert found["wrong"].endswith("NaN or infinity at layer 'conv1_conv'")


def test_without_torch_a_checkpoint_of_torch_is_not_looked_into(
    folders, capsys, monkeypatch
):
    (folders / "a.pth").write_bytes(b"\x80\x02\x8a")
    monkeypatch.setattr(inventory.importlib.util, "find_spec", lambda _: None)
    code, said = run(capsys, "verify", folders / "a.pth")
    assert code == 0
    assert findings(said)["content"].startswith("not looked at: it needs PyTorch")


def test_wrong_usage_and_damaged_files_are_told(folders, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["weights", "import"])
    (folders / "a.h5").write_bytes(b"")
    code, said = run(capsys, "verify", folders / "a.h5")
    assert (code, "is empty" in said) == (1, True)


def test_keras_is_not_loaded_for_it():
    code = (
        "import sys; from kerasresnet.cli import main; main(['weights', 'where']); "
        "print(sorted({'keras', 'tensorflow', 'torch'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "[]"
