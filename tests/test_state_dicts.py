import argparse
import collections
import pathlib
import sys
import types
import zipfile

import numpy as np
import pytest
from torch_files import entry_of, write_raw_safetensors, write_safetensors

import kerasresnet as kr
from kerasresnet.state_dicts import read_state_dict


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float32", "float32"), ("float16", "float16"), ("float64", "float64")],
)
def test_every_precision_is_read_as_float32(tmp_path, dtype, name):
    values = np.linspace(-2, 2, 6).reshape(2, 3).astype(dtype)
    path = write_safetensors(tmp_path / "a.safetensors", {"x": values})
    state = read_state_dict(path)
    assert state.dtypes == (name,)
    assert state.arrays["x"].dtype == "float32"
    np.testing.assert_array_equal(state.arrays["x"], values.astype("float32"))


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    values = np.array([1.0, -2.5, 0.15625], "float32")
    half = (values.view("uint32") >> 16).astype("uint16")
    state = read_state_dict(write_safetensors(tmp_path / "a.safetensors", {"x": half}))
    np.testing.assert_array_equal(state.arrays["x"], values)
    assert state.dtypes == ("bfloat16",)


def test_integers_stay_and_counters_are_left_out(tmp_path):
    count, scalar = np.array([3], "int64"), np.array(1.5, "float32")
    tensors = {"bn1.num_batches_tracked": count, "x": count, "y": scalar}
    state = read_state_dict(write_safetensors(tmp_path / "a.safetensors", tensors))
    assert set(state.arrays) == {"x", "y"}
    assert state.arrays["x"].dtype == "int64"
    assert state.arrays["y"].shape == ()


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"x": entry_of(0, 4, (1,), "F8_E4M3")}, bytes(4), "holds F8_E4M3 numbers at"),
        ({"x": entry_of(0, 4, (2,))}, bytes(4), r"shape \(2,\) of F32 does not take 4"),
        ({}, b"", "holds no tensors"),
    ],
)
def test_other_numbers_and_wrong_sizes_are_refused(tmp_path, header, data, message):
    path = write_raw_safetensors(tmp_path / "a.safetensors", header, data)
    with pytest.raises(kr.WeightsError, match=message):
        read_state_dict(path)


def test_our_reader_agrees_with_the_one_of_safetensors(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    tensors = {
        "b": rng.random((2, 3), "float32"),
        "a": rng.random(5).astype("float16"),
    }
    library.save_file(tensors, tmp_path / "a.safetensors", {"format": "pt"})
    state = read_state_dict(tmp_path / "a.safetensors")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(state.arrays[name], tensor.astype("float32"))
    ours = write_safetensors(tmp_path / "ours.safetensors", tensors)
    assert set(library.load_file(ours)) == set(tensors)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (None, r"needs PyTorch. Install it: pip install torch \(2\.6 or newer\)"),
        ("2.5.1+cpu", "needs PyTorch 2.6 or newer, received 2.5.1"),
    ],
)
def test_a_pth_file_needs_a_torch_that_runs_no_code(
    tmp_path, monkeypatch, version, message
):
    (tmp_path / "a.pth").write_bytes(b"\x80\x02\x8a")
    module = version and types.SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "torch", module)
    with pytest.raises(kr.WeightsError, match=message):
        read_state_dict(tmp_path / "a.pth")


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "nest",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"state_dict": {}, "state_dict_ema": state},
        lambda state: {"state_dict_ema": {}, "state_dict": state},
        lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, data="x")},
    ],
)
def test_tensors_are_found_where_training_scripts_put_them(
    torch, tmp_path, nest, zipped
):
    state = collections.OrderedDict(
        x=torch.nn.Parameter(torch.arange(6.0).reshape(2, 3)),
        half=torch.ones(2, dtype=torch.bfloat16),
        n=torch.tensor([1]),
    )
    path = tmp_path / "a.pth"
    torch.save(nest(state), path, _use_new_zipfile_serialization=zipped)
    found = read_state_dict(path)
    np.testing.assert_array_equal(found.arrays["x"], np.arange(6.0).reshape(2, 3))
    assert found.arrays["half"].dtype == "float32"
    assert found.dtypes == ("bfloat16", "float32")


def test_of_several_state_dicts_it_is_said_which_was_taken(torch, tmp_path, caplog):
    caplog.set_level("INFO", "kerasresnet.state_dicts")
    content = {
        "state_dict": {"x": torch.ones(1)},
        "state_dict_ema": {"x": torch.zeros(1)},
    }
    torch.save(content, tmp_path / "a.ckpt")
    assert not read_state_dict(tmp_path / "a.ckpt").arrays["x"].any()
    assert "took state_dict_ema, not state_dict" in caplog.text


@pytest.mark.parametrize(
    "arguments", [pathlib.PurePosixPath("x"), argparse.Namespace(data=argparse.Action)]
)
def test_classes_other_than_a_namespace_stay_refused(torch, tmp_path, arguments):
    torch.save({"model": {"x": torch.ones(1)}, "args": arguments}, tmp_path / "a.pth")
    with pytest.raises(
        kr.WeightsError, match=r"Python classes.*\['model'\], 'weights.pth"
    ):
        read_state_dict(tmp_path / "a.pth")
    allowed = torch.serialization.get_safe_globals()
    assert argparse.Namespace not in allowed


def test_a_checkpoint_with_a_wrong_byte_is_refused_before_torch_reads_it(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", bytes(500))
    content = bytearray(path.read_bytes())
    content[200] = 1
    path.write_bytes(content)
    with pytest.raises(
        kr.WeightsError, match=r"checksum of its member 'a/data.pkl' diff"
    ):
        read_state_dict(path)


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code of the file was run')",)


def test_code_in_a_file_is_not_run(torch, tmp_path):
    for number, content in enumerate((Evil(), {"state_dict": {}, "x": Evil()})):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(kr.WeightsError, match=r"classes .*which may run code"):
            read_state_dict(path)


def test_a_whole_model_is_refused_with_what_to_save(torch, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(
        kr.WeightsError,
        match=r"torch.nn.modules.linear.Linear.*\.state_dict\(\), 'weights.pth'\)",
    ):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda t: [t.ones(2)], "holds no state dict, but list"),
        (lambda t: {"epoch": 3, "args": {}}, "holds no state dict, but epoch, args"),
        (lambda t: {"x": t.ones(1).expand(2**40)}, "is refused: at 'x' its tensors claim"),
        (lambda t: {"x": t.eye(2).to_sparse()}, "sparse, quantized or empty tensor at"),
        (lambda t: {"x": t.ones(2, device="meta")}, "sparse, quantized or empty tensor"),
        (
            lambda t: {str(i): v for i, v in enumerate([t.ones(4096)] * 9)},
            "is refused: at '[0-9]' its tensors claim",
        ),
        (lambda t: {"n.num_batches_tracked": t.tensor(1)}, "holds no tensors"),
    ],
)  # fmt: skip
def test_what_is_no_state_dict_is_refused(torch, tmp_path, content, message):
    torch.save(content(torch), tmp_path / "a.pth")
    with pytest.raises(kr.WeightsError, match=message):
        read_state_dict(tmp_path / "a.pth")


def test_truncated_checkpoints_are_refused(torch, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"x": torch.ones(1000)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(kr.WeightsError, match="is damaged or incomplete"):
        read_state_dict(path)
    torch.save({"x": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(kr.WeightsError, match="damaged, incomplete"):
        read_state_dict(path)
