"""MixUp and CutMix: each picture of a batch is mixed with the next, and so are their labels.

Labels are rows of shares, one for each class: an average of class numbers would be the
number of a third class.
"""

import numpy as np

from kerasresnet.decoding import Pixels


def mix_batch(
    images: Pixels, labels: Pixels, seeds: Pixels, *, mixup: float, cutmix: float
) -> tuple[Pixels, Pixels]:
    """Mixes each picture with the next one of the batch, the last with the first.

    A batch comes shuffled, so the next one is any other. What is drawn for a picture
    depends on its seed alone. A picture that is alone in its batch stays as it is.

    Args:
        images: float32 array `(N, H, W, 3)`. It is not changed.
        labels: float32 array `(N, classes)` of rows that sum to 1.
        seeds: Integers `(N, 2)`.
        mixup: Parameter of the Beta distribution of a picture's share in a blend,
            https://arxiv.org/abs/1710.09412, or 0 for no blends.
        cutmix: The same of its share where a box of the other replaces its own,
            https://arxiv.org/abs/1905.04899. With both, each is drawn half of the time.

    Returns:
        A tuple `(images, labels)` of the same shapes.
    """
    chance = (0.5 if mixup else 1.0) if cutmix else 0.0
    mixed = np.empty_like(images)
    shares = np.empty((len(images), 1), "float32")
    for i, seed in enumerate(seeds.tolist()):
        rng = np.random.default_rng([*(number % 2**64 for number in seed), 1])
        cuts = rng.random() < chance
        alpha = cutmix if cuts else mixup
        share = np.float32(rng.beta(alpha, alpha))
        other = images[(i + 1) % len(images)]
        if cuts:
            share = _cut(images[i], other, share, rng.random(2), mixed[i])
        else:
            _blend(images[i], other, share, mixed[i])
        shares[i] = share
    return mixed, shares * labels + (1 - shares) * np.roll(labels, -1, axis=0)


def _blend(image: Pixels, other: Pixels, share: np.float32, mixed: Pixels) -> None:
    np.subtract(image, other, out=mixed)
    mixed *= share
    mixed += other


def _cut(
    image: Pixels, other: Pixels, share: np.float32, middle: Pixels, mixed: Pixels
) -> np.float32:
    """Fills `mixed`; returns the share that is left when the box is cut at the edges."""
    size = np.array(image.shape[:2])
    half = size * np.sqrt(1 - share) / 2
    begin = np.rint(middle * size - half).clip(0, size).astype(int)
    end = np.rint(middle * size + half).clip(0, size).astype(int)
    box = tuple(slice(*edges) for edges in zip(begin, end, strict=True))
    mixed[:] = image
    mixed[box] = other[box]
    return np.float32(1 - (end - begin).prod() / size.prod())
