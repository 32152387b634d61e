"""What is done about classes of unequal size: weights for the loss, or a choice of images."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, listing, unknown

ClassWeight: TypeAlias = Literal["balanced"] | Mapping[str, float] | Mapping[int, float]
Sampling: TypeAlias = Literal["balanced"]


def check_balance(class_weight: Any, sampling: Any) -> None:
    """Raises a `ValueError` unless each is None or says how classes are balanced."""
    if isinstance(class_weight, str) and class_weight != "balanced":
        raise unknown("class_weight", class_weight, ["balanced"])
    if not isinstance(class_weight, str | Mapping | None):
        raise ValueError(
            "class_weight must be 'balanced' or a dict from class to weight, received "
            f"{class_weight!r}."
        )
    if sampling not in (None, "balanced"):
        raise unknown("sampling", sampling, ["balanced"])
    if class_weight is not None and sampling is not None:
        raise ValueError(
            "class_weight and sampling both make up for classes of unequal size; choose one."
        )


def class_weights(
    class_weight: ClassWeight | None, counts: Mapping[str, int]
) -> dict[int, float] | None:
    """Returns the weight of each class's images in the loss, by its number.

    Args:
        class_weight: As in `fit`.
        counts: Number of training images of each class, by name, in label order.

    Returns:
        A dict as Keras takes it, or None for no weights. Balanced weights are
        `N / (classes * count)`: their mean over the images is 1 (King and Zeng 2001,
        doi:10.1093/oxfordjournals.pan.a004868).

    Raises:
        DataError: If a weight is given to a class that is not there.
        ValueError: If a weight is not a number of at least 0.
    """
    if class_weight is None:
        return None
    names = list(counts)
    if class_weight == "balanced":
        present = sum(count > 0 for count in counts.values())
        total = sum(counts.values())
        return {
            number: total / (present * count) if count else 1.0
            for number, count in enumerate(counts.values())
        }
    found = dict.fromkeys(range(len(names)), 1.0)
    given: dict[Any, Any] = dict(class_weight)
    for key, weight in given.items():
        number = names.index(key) if key in names else key
        if number not in found:
            raise DataError(
                f"class_weight names {key!r}, which is not a class. Classes: "
                f"{listing(names, 20)}."
            )
        if not isinstance(weight, int | float) or not 0 <= weight < np.inf:
            raise ValueError(
                f"The weight of class {key!r} must be a number of at least 0, received "
                f"{weight!r}."
            )
        found[number] = float(weight)
    return found


def balanced_rows(labels: Pixels, rng: np.random.Generator) -> Pixels:
    """Draws as many rows as there are labels, the classes in equal numbers, in any order.

    Rows of a large class are left out; those of a small one come again, each as often as
    the others, but for one.

    Args:
        labels: For each row the number of its class.
        rng: Where the draw comes from.
    """
    classes = np.unique(labels)
    sizes = np.full(len(classes), len(labels) // len(classes))
    sizes[rng.permutation(len(classes))[: len(labels) - sizes.sum()]] += 1
    chosen = []
    for number, size in zip(classes, sizes.tolist(), strict=True):
        members = np.flatnonzero(labels == number)
        rounds = [rng.permutation(members) for _ in range(-(-size // len(members)))]
        chosen.append(np.concatenate([*rounds, members[:0]])[:size])
    return rng.permutation(np.concatenate(chosen))
