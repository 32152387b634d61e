"""PyTorch's names and layouts of a ResNet, turned into Keras's.

What cannot be turned is refused with what it looks like. Files are read in `state_dicts`;
which network it is, `layouts` tells.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerasresnet.catalogue import ARCHITECTURES
from kerasresnet.decoding import Pixels
from kerasresnet.errors import WeightsError, count_of, listing
from kerasresnet.keras_files import Arrays
from kerasresnet.layouts import HEAD, Layout, layout

# A tensor that every ResNet of torchvision and timm has; what is before it is a prefix.
_MARK = "layer1.0.conv1.weight"
_UNIT = re.compile(
    r"(?:layer(?P<stage>[1-4])\.(?P<block>\d+)\.)?"
    r"(?:(?P<kind>conv|bn)(?P<number>[1-3])|downsample\.(?P<part>[01]))\."
    r"(?P<tensor>weight|bias|running_mean|running_var)"
)
_TRUNK = re.compile(r"(?:conv1|bn1|layer\d+)\.")
_HEADS = ("fc", "head.fc", "head", "classifier")
# The order of Keras's weights: kernel, bias; gamma, beta, mean, variance.
_TENSORS = ("weight", "bias", "running_mean", "running_var")


def to_keras(arrays: Mapping[str, Pixels], path: Path) -> tuple[Arrays, list[str]]:
    """Turns a state dict of torchvision's ResNet into arrays by Keras's layer names.

    The values are untouched; kernels are transposed to Keras's layout.

    Args:
        arrays: Tensors by name.
        path: Where they are from, for errors.

    Returns:
        The arrays of each layer, in Keras's order and without biases of convolutions,
        and the names of tensors that belong to no such layer.

    Raises:
        WeightsError: If it is another network, or two of them.
    """
    prefix = _prefix(arrays, path)
    inside = {k[len(prefix) :]: k for k in arrays if k.startswith(prefix)}
    _check_variant({name: arrays[key].shape for name, key in inside.items()}, path)
    layers: dict[str, dict[str, Pixels]] = {}
    left = [key for key in arrays if not key.startswith(prefix)]
    for name, key in inside.items():
        unit = _UNIT.fullmatch(name)
        if unit:
            layers.setdefault(_layer_name(unit), {})[unit["tensor"]] = arrays[key]
        elif _TRUNK.match(name):
            raise WeightsError(
                f"{path} has a tensor that torchvision's ResNet does not have: {key!r}. It "
                "was made for another network."
            )
        else:
            left.append(key)
    converted = {name: _layer(name, found, path) for name, found in layers.items()}
    head = _head(arrays, prefix, left)
    if head:
        converted[HEAD] = head
    return converted, left


def to_v1(arrays: Arrays) -> Arrays:
    """Turns arrays of the v1.5 graph of ResNet18 or 34 into those of the v1 graph.

    Exact: biases are zero, and the variance makes up for the other epsilon.

    Args:
        arrays: Arrays by Keras's layer names.

    Returns:
        New arrays; those given are not changed.
    """
    turned: Arrays = {}
    for name, found in arrays.items():
        if name.endswith("_conv"):
            turned[name] = [*found, np.zeros(found[0].shape[-1], "float32")]
        elif name.endswith("_bn"):
            # 1.001e-5 is added in the one, 1e-5 in the other.
            # One below 0 stays as it is, to be refused.
            given = found[3].astype("float64")
            variance = np.where(given < 0, given, np.maximum(given - 1e-8, 0))
            turned[name] = [*found[:3], variance.astype("float32")]
        else:
            turned[name] = found
    return turned


def check_layout(arrays: Arrays, path: Path) -> None:
    """Raises the error for arrays that are no ResNet of the table, by what differs.

    Args:
        arrays: Arrays of the v1.5 graph by Keras's layer names, that `layouts.identify`
            did not recognise.
        path: Where they are from.

    Raises:
        WeightsError: Always.
    """
    shapes = {name: tuple(a.shape for a in found) for name, found in arrays.items()}
    near = min(
        (name for name, row in ARCHITECTURES.items() if row.graph == "v1.5"),
        key=lambda name: _distance(shapes, layout(name)),
    )
    own = layout(near)
    missing = [name for name in own if name not in shapes]
    extra = [name for name in shapes if name not in own and name != HEAD]
    wrong = [name for name in own if name in shapes and shapes[name] != own[name]]
    if wrong and not missing and not extra:
        name = wrong[0]
        detail = f"{name!r} has shapes {list(shapes[name])}, expected {list(own[name])}"
    else:
        detail = "; ".join(
            f"{count_of(len(names), 'layer')} {what}: {listing(names, 3)}"
            for what, names in (("missing", missing), ("too many", extra))
            if names
        )
    raise WeightsError(
        f"{path} is none of the networks of `kerasresnet backbones`. Nearest is {near}: "
        f"{detail}."
    )


def _distance(shapes: Mapping[str, object], own: Layout) -> int:
    return sum(shapes.get(name) != own.get(name) for name in {*shapes, *own})


def _prefix(arrays: Mapping[str, Pixels], path: Path) -> str:
    found = [name.removesuffix(_MARK) for name in arrays if name.endswith(_MARK)]
    if not found:
        raise WeightsError(
            f"{path} holds no ResNet of torchvision or timm: no tensor is named like "
            f"{_MARK!r}. Its tensors are {listing(arrays, 3)}."
        )
    if len(found) > 1:
        raise WeightsError(
            f"{path} holds {len(found)} networks, under the prefixes "
            f"{', '.join(map(repr, found))}. Save the one you want alone."
        )
    return found[0]


def _layer_name(unit: re.Match[str]) -> str:
    if unit["part"]:
        number, kind = "0", ("conv", "bn")[int(unit["part"])]
    else:
        number, kind = unit["number"], unit["kind"]
    if unit["stage"] is None:
        return f"conv{number}_{kind}"
    return f"conv{int(unit['stage']) + 1}_block{int(unit['block']) + 1}_{number}_{kind}"


def _layer(name: str, found: Mapping[str, Pixels], path: Path) -> list[Pixels]:
    # The bias is refused by name: torchvision's convolutions have none.
    wanted = ("weight",) if name.endswith("_conv") else _TENSORS
    if set(found) != set(wanted):
        missing = [tensor for tensor in wanted if tensor not in found]
        extra = [tensor for tensor in found if tensor not in wanted]
        what = f"lacks {listing(missing)}" if missing else f"has {listing(extra)}, too"
        raise WeightsError(
            f"{path} does not fit at layer {name!r}: it {what}. It was made for another "
            "network."
        )
    return [_transposed(found[tensor]) for tensor in wanted]


def _transposed(array: Pixels) -> Pixels:
    """From (out, in, height, width) to (height, width, in, out)."""
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    return array


def _head(arrays: Mapping[str, Pixels], prefix: str, left: list[str]) -> list[Pixels]:
    """Takes the head out of what is left, and returns its kernel and bias, or nothing."""
    # A head beside the network, as in `backbone.` and `fc.`, counts, too.
    parent = prefix.rstrip(".").rpartition(".")[0]
    places = dict.fromkeys([prefix, f"{parent}." if parent else ""])
    for place in places:
        for head in _HEADS:
            keys = _linear(arrays, f"{place}{head}.")
            if keys:
                left[:] = [name for name in left if name not in keys]
                return [np.ascontiguousarray(arrays[keys[0]].T), arrays[keys[1]]]
    return []


def _linear(arrays: Mapping[str, Pixels], prefix: str) -> tuple[str, ...]:
    """Returns weight and bias below a prefix if there is nothing else, or nothing."""
    keys = tuple(sorted((k for k in arrays if k.startswith(prefix)), reverse=True))
    inner = keys[0].removesuffix("weight") if keys else ""
    if keys == (f"{inner}weight", f"{inner}bias") and arrays[keys[0]].ndim == 2:
        return keys
    return ()


def _check_variant(shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Refuses relatives of ResNet that have tensors of the same names."""
    looks = _looks_like(shapes)
    if looks:
        raise WeightsError(
            f"{path} is {looks}. Expected a plain ResNet of 18, 34, 50, 101 or 152 layers; "
            "`kerasresnet backbones` lists them."
        )


def _looks_like(shapes: Mapping[str, tuple[int, ...]]) -> str:
    names = set(shapes)
    if "conv1.0.weight" in names or "layer2.0.downsample.2.weight" in names:
        return "a ResNet-D or another with a deep stem (conv1.0) or pooled shortcuts"
    if any(".se." in name or ".attn" in name for name in names):
        return "an SE-ResNet or another with attention in its blocks"
    if "bn1.running_mean" not in names:
        return "a network without batch norm statistics, such as one with group norm"
    middle = shapes.get("layer1.0.conv2.weight", ())
    if len(middle) == 4 and "layer1.0.conv3.weight" in names:
        if middle[0] > 64 and middle[1] == middle[0]:
            return f"a wide ResNet ({middle[0]} channels in its first blocks, not 64)"
        if middle[1] != middle[0]:
            return f"a ResNeXt (groups of {middle[1]} of {middle[0]} channels)"
    return ""
