"""Which layers with weights each network has, and which network given layers are.

Names and shapes alone; no file is read and no graph is built here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from kerasresnet.catalogue import ARCHITECTURES, Architecture, StemName

Shapes: TypeAlias = tuple[tuple[int, ...], ...]
Layout: TypeAlias = dict[str, Shapes]

HEAD = "predictions"
_TRUNK = re.compile(r"conv[1-5]_|post_bn")


@dataclass(frozen=True)
class Network:
    """A backbone that layers were recognised as.

    Args:
        backbone: Its name.
        stem: How it begins.
    """

    backbone: str
    stem: StemName


@cache
def layout(backbone: str, stem: StemName = "imagenet") -> Layout:
    """Returns the layers with weights of a backbone, in the order of Keras's graph.

    Args:
        backbone: Name of the backbone.
        stem: How it begins.

    Returns:
        A dict from layer name to the shapes of its weights. Not to be changed.
    """
    row = ARCHITECTURES[backbone]
    layers = dict(_stem(row, stem))
    width = 64
    for stage, blocks in enumerate(row.blocks, 2):
        filters = 64 * 2 ** (stage - 2)
        for block in range(1, blocks + 1):
            layers |= _block(row, f"conv{stage}_block{block}", width, filters)
            width = filters * (4 if row.bottleneck else 1)
    if row.graph == "v2":
        layers["post_bn"] = _norm(width)
    return layers


def trunk_of(shapes: Mapping[str, Any]) -> list[str]:
    """Returns the names of layers that belong to a backbone."""
    return [name for name in shapes if _TRUNK.match(name)]


def identify(shapes: Mapping[str, Shapes]) -> Network | None:
    """Returns which network layers are, by names and shapes; None for none of the table.

    Args:
        shapes: Shapes of the weights by Keras's layer names. A head does not matter.
    """
    trunk = {name: tuple(shapes[name]) for name in trunk_of(shapes)}
    for name, row in ARCHITECTURES.items():
        for stem in row.stems:
            if trunk == layout(name, stem):
                return Network(name, stem)
    return None


def foreign(shapes: Mapping[str, Any], backbone: str) -> list[str]:
    """Returns the layers that look like a backbone's, and that this one does not have."""
    if backbone not in ARCHITECTURES:
        return []
    own = layout(backbone)
    return [name for name in trunk_of(shapes) if name not in own]


def classes_of(shapes: Mapping[str, Shapes]) -> int | None:
    """Returns the number of classes of the head, None without one."""
    head = shapes.get(HEAD)
    return head[0][-1] if head and len(head[0]) == 2 else None


def _stem(row: Architecture, stem: StemName) -> Iterator[tuple[str, Shapes]]:
    side = 7 if stem == "imagenet" else 3
    yield "conv1_conv", _convolution(side, 3, 64, bias=row.graph != "v1.5")
    if row.graph != "v2":
        yield "conv1_bn", _norm(64)


def _block(row: Architecture, name: str, width: int, filters: int) -> Layout:
    if row.graph == "v2":
        return _preactivated(name, width, filters)
    bias = row.graph == "v1"
    widths = [width, filters, filters, 4 * filters]
    sides = [1, 3, 1]
    if not row.bottleneck:
        widths, sides = widths[:3], [3, 3]
    layers: Layout = {}
    last = len(sides)
    for number, side in enumerate(sides, 1):
        if number == last and width != widths[-1]:
            layers[f"{name}_0_conv"] = _convolution(1, width, widths[-1], bias=bias)
        shape = _convolution(side, widths[number - 1], widths[number], bias=bias)
        layers[f"{name}_{number}_conv"] = shape
        if number == last and width != widths[-1]:
            layers[f"{name}_0_bn"] = _norm(widths[-1])
        layers[f"{name}_{number}_bn"] = _norm(widths[number])
    return layers


def _preactivated(name: str, width: int, filters: int) -> Layout:
    # keras/src/applications/resnet.py: residual_block_v2
    layers = {
        f"{name}_preact_bn": _norm(width),
        f"{name}_1_conv": _convolution(1, width, filters, bias=False),
        f"{name}_1_bn": _norm(filters),
        f"{name}_2_conv": _convolution(3, filters, filters, bias=False),
        f"{name}_2_bn": _norm(filters),
    }
    if width != 4 * filters:
        layers[f"{name}_0_conv"] = _convolution(1, width, 4 * filters, bias=True)
    layers[f"{name}_3_conv"] = _convolution(1, filters, 4 * filters, bias=True)
    return layers


def _convolution(side: int, width: int, filters: int, *, bias: bool) -> Shapes:
    kernel = (side, side, width, filters)
    return (kernel, (filters,)) if bias else (kernel,)


def _norm(width: int) -> Shapes:
    return ((width,),) * 4
