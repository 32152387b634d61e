"""Which precision a network computes in, and what the device is good at."""

import functools
import logging
from pathlib import Path
from typing import Any, Literal, TypeAlias

from kerasresnet.backends import gpu
from kerasresnet.errors import unknown

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
Resolved: TypeAlias = Literal["float32", "bfloat16"]

_PRECISIONS = ("auto", "float32", "bfloat16")
# The CPU's own instructions for bfloat16, as Linux calls them. Without them TensorFlow
# emulates it, which is slower than float32.
_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
# NVIDIA's tensor cores compute in bfloat16 from Ampere on.
_AMPERE = (8, 0)

_log = logging.getLogger(__name__)


def check_precision(precision: Any) -> None:
    """Raises a `ValueError` unless it is a known precision."""
    if precision not in _PRECISIONS:
        raise unknown("precision", precision, _PRECISIONS)


def resolve_precision(precision: Precision, policy: str = "float32") -> Resolved:
    """Returns `"float32"` or `"bfloat16"`.

    Args:
        precision: As in `fit`.
        policy: What the model computes in by its own policy.

    Returns:
        `precision`, unless it is `"auto"`: then bfloat16 if the model's policy asks for
        it or the device is good at it, else float32.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if policy == "bfloat16" else _chosen()


def bfloat16_device() -> str | None:
    """Returns what makes bfloat16 worthwhile on this machine, or None."""
    card = gpu()
    if card is not None:
        name, capability = card
        return name if capability >= _AMPERE else None
    found = sorted(_CPU_FLAGS & cpu_flags())
    return f"CPU with {', '.join(found)}" if found else None


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Returns the CPU's instruction sets; none where the system does not tell."""
    try:
        lines = cpuinfo.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


@functools.cache
def _chosen() -> Resolved:
    # Once for each process: the log says it once, and the answer cannot change.
    device = bfloat16_device()
    chosen: Resolved = "bfloat16" if device else "float32"
    _log.info(
        "precision='auto' is %s here: %s.", chosen, device or "no bfloat16 instructions"
    )
    return chosen
