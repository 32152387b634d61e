"""Which precision "auto" is, and that it is said once."""

import logging

import pytest

from kerasresnet import precision
from kerasresnet.precision import check_precision, cpu_flags, resolve_precision


@pytest.fixture
def fresh():
    """As in a new process, before and after."""
    precision._chosen.cache_clear()
    yield
    precision._chosen.cache_clear()


X86 = "processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_bf16\nvmx flags\t: ept\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd4f\n"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (X86, {"fpu", "avx512_bf16", "amx_bf16"}),
        (X86 + X86.replace("fpu", "other"), {"fpu", "avx512_bf16", "amx_bf16"}),
        (ARM, {"fp", "asimd", "bf16"}),
        ("cpu\t: POWER9\n", set()),
        ("", set()),
    ],
)
def test_instruction_sets_are_read_as_linux_tells_them(tmp_path, text, flags):
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_flags(tmp_path / "cpuinfo") == flags


def test_a_system_that_does_not_tell_has_none(tmp_path):
    assert cpu_flags(tmp_path / "absent") == set()


@pytest.mark.parametrize(
    ("flags", "device"),
    [
        ({"fpu", "avx512f", "avx2"}, None),
        ({"fpu", "bf16"}, "CPU with bf16"),
        ({"avx512_bf16", "amx_bf16"}, "CPU with amx_bf16, avx512_bf16"),
    ],
)
def test_a_cpu_is_good_at_bfloat16_if_it_says_so(monkeypatch, flags, device):
    monkeypatch.setattr("tensorflow.config.get_visible_devices", lambda kind: [])
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    assert precision.bfloat16_device() == device


@pytest.mark.parametrize(
    ("details", "device"),
    [
        ({"compute_capability": (7, 5), "device_name": "T4"}, None),
        ({"compute_capability": (8, 0), "device_name": "A100"}, "A100"),
        ({"compute_capability": (9, 0)}, "GPU"),
        ({}, None),
    ],
)
def test_a_gpu_is_good_at_bfloat16_from_ampere_on(monkeypatch, details, device):
    found = "tensorflow.config.experimental.get_device_details"
    monkeypatch.setattr("tensorflow.config.get_visible_devices", lambda kind: [kind])
    monkeypatch.setattr(found, lambda gpu: details)
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"amx_bf16"})
    assert precision.bfloat16_device() == device


@pytest.mark.parametrize(("device", "chosen"), [("GPU", "bfloat16"), (None, "float32")])
def test_auto_follows_the_device(monkeypatch, fresh, device, chosen):
    monkeypatch.setattr(precision, "bfloat16_device", lambda: device)
    assert resolve_precision("auto") == chosen


@pytest.mark.parametrize("device", ["GPU", None])
def test_what_is_asked_for_wins_over_the_device(monkeypatch, fresh, device):
    monkeypatch.setattr(precision, "bfloat16_device", lambda: device)
    assert resolve_precision("auto", policy="bfloat16") == "bfloat16"
    for chosen in ("float32", "bfloat16"):
        for policy in ("float32", "bfloat16"):
            assert resolve_precision(chosen, policy) == chosen


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("CPU with amx_bf16", "bfloat16 here: CPU with amx_bf16."),
        (None, "float32 here: no bfloat16 instructions."),
    ],
)
def test_what_auto_chose_is_said_once(monkeypatch, fresh, caplog, device, said):
    monkeypatch.setattr(precision, "bfloat16_device", lambda: device)
    caplog.set_level(logging.INFO, "kerasresnet")
    resolve_precision("float32")
    resolve_precision("auto", policy="bfloat16")
    assert caplog.messages == []
    for _ in range(3):
        resolve_precision("auto")
    assert caplog.messages == [f"precision='auto' is {said}"]


def test_an_unknown_precision_names_the_nearest():
    for known in ("auto", "float32", "bfloat16"):
        check_precision(known)
    with pytest.raises(ValueError, match=r"'bfloat'. Did you mean 'bfloat16'\?"):
        check_precision("bfloat")
