"""Which image goes to which part, and how many of each class: pure rules.

An image goes where its own content says, so that adding others moves none of them.
"""

import hashlib
import logging
from collections.abc import Sequence

import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, listing

# Parts that differ so many standard deviations from their shares are no chance.
_UNLIKELY = 6
_log = logging.getLogger(__name__)


def position(key: str, seed: int, times: int) -> float:
    """Returns where in [0, 1) a key lies, as good as drawn at random.

    Args:
        key: The image's digest, or the name of its group.
        seed: Another seed gives other positions.
        times: How often the images were divided before; another number gives others,
            so that a part can be divided again with the same seed.
    """
    found = hashlib.sha256(f"{seed}/{times}/{key}".encode()).digest()
    return int.from_bytes(found[:8], "big") / 2**64


def divide(
    positions: Pixels,
    units: Pixels,
    labels: Pixels,
    fractions: Sequence[float],
    class_names: Sequence[str],
) -> Pixels:
    """Decides the part of each image: 0 is what remains, then one for each fraction.

    By its position alone, except where a class would be absent from a part: then the
    unit that lies nearest to the part goes there.

    Args:
        positions: For each image a number in [0, 1); the same within a unit.
        units: For each image the number of its unit, which stays together.
        labels: For each image the number of its class.
        fractions: Share of each part that is held out.
        class_names: Names of the classes, for messages.

    Returns:
        An integer for each image.

    Raises:
        DataError: If a class has fewer images than there are parts.
    """
    _refuse_small(labels, len(fractions) + 1, class_names)
    edges = np.cumsum(fractions)
    parts = (np.searchsorted(edges, positions, side="right") + 1) % (len(edges) + 1)
    short: list[str] = []
    for label, name in enumerate(class_names):
        members = labels == label
        if members.any() and not _complete(parts, members, positions, units, edges):
            short.append(name)
    if short:
        _log.warning(
            "Too few pictures that differ for one in every part: %s.", listing(short)
        )
    _report_unlikely(parts, units, fractions)
    return parts


def _refuse_small(labels: Pixels, count: int, class_names: Sequence[str]) -> None:
    found = np.bincount(labels, minlength=len(class_names))
    for name, images in zip(class_names, found.tolist(), strict=True):
        if images < count:
            raise DataError(
                f"Class {name!r} has {images} image{'s' * (images != 1)}, too few for "
                f"{count} parts. Add photos, or leave the class out with "
                "from_folder(…, class_names=[…])."
            )


def _complete(
    parts: Pixels, members: Pixels, positions: Pixels, units: Pixels, edges: Pixels
) -> bool:
    """Moves units until a class has one in each part; returns whether that is so."""
    lows = np.concatenate([edges[-1:], [0.0], edges[:-1]])
    highs = np.concatenate([[1.0], edges])
    for part in range(len(lows)):
        if (members & (parts == part)).any():
            continue
        held = {int(unit): int(parts[i]) for i, unit in enumerate(units) if members[i]}
        sizes = np.bincount(list(held.values()), minlength=len(lows))
        spare = [unit for unit, where in held.items() if sizes[where] > 1]
        if not spare:
            return False
        place = {int(u): float(positions[i]) for i, u in enumerate(units) if members[i]}
        low, high = lows[part], highs[part]
        nearest = min(spare, key=lambda u: max(low - place[u], place[u] - high, 0.0))
        parts[units == nearest] = part
    return True


def _report_unlikely(parts: Pixels, units: Pixels, fractions: Sequence[float]) -> None:
    _, first = np.unique(units, return_index=True)
    count = len(first)
    for part, share in enumerate(fractions, 1):
        found = int((parts[first] == part).sum())
        deviation = (count * share * (1 - share)) ** 0.5
        if count >= 100 and abs(found - count * share) > _UNLIKELY * deviation:
            _log.warning(
                "A part has %d of %d images, far from %.0f %%: they were probably divided "
                "with this seed before. Another seed divides them evenly.",
                found,
                count,
                100 * share,
            )


def folds(positions: Pixels, units: Pixels, labels: Pixels, k: int) -> Pixels:
    """Deals images out to `k` folds of nearly equal size, class by class.

    Args:
        positions: As in `divide`.
        units: As in `divide`.
        labels: As in `divide`.
        k: Number of folds.

    Returns:
        For each image the number of its fold.
    """
    found = np.zeros(len(labels), "int64")
    filled = np.zeros((k, int(labels.max(initial=0)) + 1), "int64")
    order = np.lexsort((np.arange(len(units)), units, positions))
    starts = np.flatnonzero(np.diff(units[order])) + 1
    for members in np.split(order, starts):
        label = labels[members[0]]
        # The fold with the fewest of the class; of several such, the smallest.
        fold = int(np.lexsort((filled.sum(axis=1), filled[:, label]))[0])
        found[members] = fold
        np.add.at(filled[fold], labels[members], 1)
    return found


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
