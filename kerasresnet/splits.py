"""How many images of each class go where: pure rules on counts."""

import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError


def part_sizes(count: int, fractions: tuple[float, ...], name: str) -> list[int]:
    """Sizes of the held-out parts of one class; what remains keeps at least one."""
    if count <= len(fractions):
        raise DataError(
            f"Class {name!r} has {count} image{'s' * (count != 1)}, too few for "
            f"{len(fractions) + 1} parts. Add photos, or leave the class out with "
            "from_folder(…, class_names=[…])."
        )
    sizes: list[int] = []
    for k, fraction in enumerate(fractions):
        # At least one on each side, so that every class is trained and scored.
        still_needed = len(fractions) - k
        most = count - sum(sizes) - still_needed
        sizes.append(min(max(round(count * fraction), 1), most))
    return sizes


def proportional(counts: Pixels, total: int) -> Pixels:
    """Shares of `total` in proportion to `counts`: the largest-remainder method."""
    exact = counts * (total / counts.sum())
    sizes = np.floor(exact).astype("int64")
    if total >= np.count_nonzero(counts):
        sizes = np.maximum(sizes, counts > 0)
    while sizes.sum() < total:
        sizes[np.argmax(np.where(sizes < counts, exact - sizes, -np.inf))] += 1
    while sizes.sum() > total:
        sizes[np.argmax(np.where(sizes > 1, sizes - exact, -np.inf))] -= 1
    return sizes
