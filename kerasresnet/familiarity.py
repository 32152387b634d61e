"""How much a photo is like those that a model was trained on.

A classifier has an answer to everything, and is often sure of it. Here no class is asked
for, only the distance to photos that are known.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasresnet.backbones import stage_of
from kerasresnet.caching import Cache
from kerasresnet.certainty import fingerprint
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError
from kerasresnet.errors import DataError
from kerasresnet.extraction import Verbosity
from kerasresnet.neighbours import directions
from kerasresnet.prediction import Images, gather
from kerasresnet.threads import few_threads

_CELLS = 2**24  # similarities at a time, 64 MiB
_MOST_COMPARED = 5000


@dataclass(frozen=True, eq=False, repr=False)
class Familiarity:
    """How far photos are from those that a model was trained on.

    The distance to the k-th nearest neighbour among the training photos, in pooled
    features of length 1 (Sun et al. 2022, https://arxiv.org/abs/2204.06507). `fit` makes
    one; it holds the features, 8 KB for each photo of a ResNet50.

    Args:
        model: The model that computes the features.
        features: Those of the training photos, `(N, D)`, float32, rows of length 1.
        k: Which neighbour the distance is measured to.
        distances: Of training photos to the others of them, ascending.

    Example:

    >>> train = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> familiarity = kr.Familiarity.fit(model, train, verbose=0)
    >>> familiarity
    Familiarity(30 images, k=1)
    >>> noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    >>> familiarity.score(noise).shape
    (1,)
    """

    model: Classifier
    features: Pixels
    k: int
    distances: Pixels
    _fingerprint: str = field(default="", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fingerprint", self._fingerprint_now())

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        return f"Familiarity({len(self):,} images, k={self.k})"

    @classmethod
    def fit(
        cls,
        model: Classifier,
        train: Any,
        *,
        k: int | None = None,
        batch_size: int = 32,
        cache: Cache = "auto",
        verbose: Verbosity = "auto",
    ) -> "Familiarity":
        """Remembers what the training photos look like to the model.

        Args:
            model: A `Classifier`. It is not changed.
            train: The photos that it was trained on, as in `extract_features`. A network
                that was fine-tuned knows these better than any others: for it pass photos
                like them that it was not trained on.
            k: Which neighbour the distance is measured to. Defaults to a quarter of the
                root of the number of photos, at least 1: 5 for 400 photos, and 56 for
                50,000, where Sun et al. chose 50.
            batch_size: Images that are computed at a time.
            cache: Where features are kept for the next time, as in `fit`.
            verbose: As in Keras.

        Returns:
            A `Familiarity`.

        Raises:
            DataError: If there are not more than k photos, or one cannot be read.
            ValueError: If an argument is out of range.
        """
        check_classifier(model)
        if k is not None and k < 1:
            raise ValueError(f"k must be at least 1, received {k}.")
        features = directions(model, train, batch_size, verbose, cache)
        if k is None:
            k = max(1, round(len(features) ** 0.5 / 4))
        if len(features) <= k:
            raise DataError(
                f"There are {len(features):,} photos; the distance to neighbour {k} of each needs "
                "more than that. Pass more photos or a smaller k."
            )
        step = -(-len(features) // _MOST_COMPARED)
        # A photo is its own nearest neighbour, so that the others begin at the second.
        distances = _distances(features[::step], features, k + 1)
        return cls(model, features, k, np.sort(distances))

    def distance(
        self,
        images: Images,
        *,
        batch_size: int = 32,
        on_error: OnError = "raise",
    ) -> Pixels:
        """Returns how far images are from the training photos, for ranking them.

        Args:
            images: As in `predict`.
            batch_size: Images that are computed at a time.
            on_error: As in `predict`.

        Returns:
            A float32 array of shape `(N,)`, in 0..2: the distance of each image to its
            k-th nearest training photo.

        Raises:
            DataError: As in `predict`.
            ValueError: If the network was trained since `fit`.
        """
        if self._fingerprint_now() != self._fingerprint:
            raise ValueError(
                "The network has been trained since the photos were remembered, and its "
                "features are others now. Call kr.Familiarity.fit again."
            )
        data, _ = gather(images, self.model.image_size, on_error)
        rows = directions(self.model, data, batch_size, 0, cache="memory")
        return _distances(rows, self.features, self.k)

    def score(
        self,
        images: Images,
        *,
        batch_size: int = 32,
        on_error: OnError = "raise",
    ) -> Pixels:
        """Returns how familiar images are: 0.01 is stranger than 99 % of training photos.

        Args:
            images: As in `predict`.
            batch_size: Images that are computed at a time.
            on_error: As in `predict`.

        Returns:
            A float64 array of shape `(N,)`, in 0..1: the share of the training photos (of
            at most 5,000, evenly spread) that are at least as far from their neighbours
            among the others. Photos like the training photos have scores spread evenly
            over 0..1; foreign ones have scores near 0.

        Raises:
            DataError: As in `predict`.
            ValueError: If the network was trained since `fit`.
        """
        found = self.distance(images, batch_size=batch_size, on_error=on_error)
        nearer = np.searchsorted(self.distances, found, side="left")
        return 1 - nearer / len(self.distances)

    def _fingerprint_now(self) -> str:
        """Of the network without its head, which the features do not depend on."""
        layers = [layer for layer in self.model.layers if stage_of(layer.name)]
        return fingerprint([weight for layer in layers for weight in layer.weights])


def _distances(rows: Pixels, others: Pixels, k: int) -> Pixels:
    """The distance of each row to the k-th nearest of the others."""
    step = max(1, _CELLS // len(others))
    found = np.empty(len(rows), "float32")
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        with few_threads(some.size * len(others)):
            similar = some @ others.T
        kth = np.partition(similar, -k, axis=1)[:, -k]
        found[first : first + step] = np.sqrt(np.maximum(2 - 2 * kth, 0))
    return found
