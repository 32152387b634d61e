"""What a classifier can be built with, checked before anything is built."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

from kerasresnet.arrays import check_names, default_names
from kerasresnet.backbones import POOLINGS, check_backbone
from kerasresnet.errors import unknown


def resolve_names(
    num_classes: Any, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    """Returns the class names that `num_classes` and `class_names` stand for."""
    if num_classes is None and class_names is None:
        raise ValueError(
            "Pass num_classes or class_names, such as class_names=data.class_names."
        )
    names = None if class_names is None else check_names(class_names)
    if num_classes is None:
        num_classes = len(names or ())
    if (
        isinstance(num_classes, bool)
        or not isinstance(num_classes, Integral)
        or num_classes < 2
    ):
        only = f" ({names[0]!r})" if names else ""
        if isinstance(num_classes, list | tuple):
            only = ". Names go into class_names=…"
        raise ValueError(
            f"A classifier needs at least 2 classes, received {num_classes!r}{only}."
        )
    if names is not None and len(names) != num_classes:
        raise ValueError(
            f"num_classes={num_classes}, but class_names has {len(names)}. Pass one of them."
        )
    return names or default_names(int(num_classes))


def check_sizes(
    input_shape: Any,
    upsample_to: Any,
    backbone: str,
    stem: str = "imagenet",
) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Returns the input's height and width, and those after upsampling, or None."""
    size = _input_size(input_shape)
    upsampled = None if upsample_to is None else _upsampled_size(size, upsample_to)
    network = check_backbone(backbone)
    network.stem(stem)  # refuses one that the network does not have
    smallest = network.smallest_side(stem)
    if min(upsampled or size) < smallest:
        raise ValueError(
            f"input_shape {tuple(input_shape)} is too small: {backbone} needs at least "
            f"{smallest} x {smallest} px. Choose a larger one (photos are resized to it), "
            "or upsample_to."
        )
    return size, upsampled


def _input_size(input_shape: Any) -> tuple[int, int]:
    shape = tuple(input_shape) if isinstance(input_shape, Iterable) else (input_shape,)
    whole = all(isinstance(side, int) and side > 0 for side in shape)
    if len(shape) != 3 or not whole or shape[2] != 3:
        hint = " Channels come last." if len(shape) == 3 and shape[0] == 3 else ""
        raise ValueError(
            f"input_shape must be (height, width, 3), received {shape}.{hint}"
        )
    return shape[0], shape[1]


def _upsampled_size(size: tuple[int, int], upsample_to: Any) -> tuple[int, int]:
    both = isinstance(upsample_to, int)
    target = (upsample_to, upsample_to) if both else tuple(upsample_to)
    if len(target) != 2:
        raise ValueError(f"upsample_to must be one or two sizes, received {target}.")
    pairs = list(zip(target, size, strict=True))
    if any(wanted < have or wanted % have for wanted, have in pairs):
        nearest = tuple(max(1, round(wanted / have)) * have for wanted, have in pairs)
        raise ValueError(
            f"upsample_to={upsample_to} is not a whole multiple of the input's "
            f"{size[0]} x {size[1]} px: UpSampling2D repeats pixels. The nearest that "
            f"works is {nearest}; or pass input_shape=({target[0]}, {target[1]}, 3) "
            "without upsample_to, and images are resized when they are read."
        )
    return target[0], target[1]


def check_whole_head(
    weights: object, hidden_units: Sequence[int], pooling: str
) -> None:
    """Raises a `ValueError` unless a head could come with the weights."""
    if weights is None:
        raise ValueError(
            "include_top=True takes the head from the weights, received weights=None. Pass a "
            "file, or leave out include_top."
        )
    if tuple(hidden_units) or pooling != "avg":
        raise ValueError(
            "include_top=True takes a head of average pooling and one Dense layer, received "
            f"hidden_units={hidden_units!r} and pooling={pooling!r}. Leave these out."
        )


def check_head(hidden_units: Any, dropout: float, pooling: str) -> None:
    """Raises a `ValueError` unless the head can be built."""
    if isinstance(hidden_units, int):
        raise ValueError(
            f"hidden_units must be a sequence, received {hidden_units}. "
            f"Pass hidden_units=({hidden_units},)."
        )
    if any(not isinstance(units, Integral) or units < 1 for units in hidden_units):
        raise ValueError(
            f"hidden_units must be positive integers, received {hidden_units!r}."
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, received {dropout}.")
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, POOLINGS)
