"""How sure a measured share is."""

import math


def wilson_interval(hits: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Returns the score interval of a proportion (Wilson 1927, JASA 22:209-212).

    Args:
        hits: Number of successes.
        total: Number of trials, at least 1.
        z: Normal quantile; the default gives 95 %.

    Returns:
        A tuple `(low, high)`, both in 0..1.
    """
    share = hits / total
    centre = share + z**2 / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
