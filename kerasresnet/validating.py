"""How good a linear head is on photos it has not seen.

Nothing is trained but the head of the exact linear probe, on features that are computed
once; how, is in `nesting`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasresnet.balance import ClassWeight
from kerasresnet.caching import Cache
from kerasresnet.classifier import Classifier
from kerasresnet.division import OnError
from kerasresnet.errors import count_of
from kerasresnet.evaluation import Report
from kerasresnet.extraction import Verbosity
from kerasresnet.inputs import Data
from kerasresnet.nesting import by_fold, checked_method, held_out, tabulated
from kerasresnet.penalties import report_edges
from kerasresnet.precision import Precision


@dataclass(frozen=True)
class CrossValidation:
    """How well a linear head does on images it has not seen. `print(found)` shows it.

    Every image was held out exactly once, and so was the choice of the penalty.

    Args:
        report: A `Report` on all images, each with the probabilities of the one head
            that was solved without it.
        accuracies: Share of the held-out images called right, 0..1, for each fold.
        losses: Log loss of the held-out images, in nats, for each fold.
        penalties: The penalty chosen for each fold, without its held-out images.
    """

    report: Report
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    penalties: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Share of all images called right, 0..1."""
        return self.report.accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % interval of the accuracy, `(low, high)`: Wilson's (1927), on all images.

        It takes the images for independent draws. It leaves out how much the head itself
        would vary with other training images: the folds share theirs, so that their
        spread does not tell without bias either (Bengio and Grandvalet 2004,
        https://www.jmlr.org/papers/v5/grandvalet04a.html). Take it for the least.
        """
        return self.report.accuracy_interval

    @property
    def spread(self) -> float:
        """Standard deviation of the accuracy over the folds, 0..1."""
        return float(np.std(self.accuracies, ddof=1))

    def __str__(self) -> str:
        low, high = self.interval
        strong, weak = max(self.penalties), min(self.penalties)
        chosen = f"{weak:.2g}" if weak == strong else f"{weak:.2g} to {strong:.2g}"
        folds = ", ".join(f"{accuracy:.1%}" for accuracy in self.accuracies)
        lines = [
            f"{len(self.accuracies)} folds of {count_of(len(self.report), 'image')}, "
            "each held out once",
            f"accuracy  {self.accuracy:.1%}  (95 % interval {low:.1%} to {high:.1%})",
            f"folds     {folds}  (standard deviation {self.spread:.1%})",
            f"log loss  {np.mean(self.losses):.3f}",
            f"penalty   {chosen}, chosen without the held-out images",
        ]
        return "\n".join(lines)


def cross_validate(  # noqa: PLR0913 - the public contract
    model: Classifier,
    data: Data,
    k: int = 5,
    *,
    penalties: Sequence[float] | None = None,
    class_weight: ClassWeight | None = None,
    batch_size: int = 32,
    cache: Cache = "auto",
    precision: Precision = "auto",
    on_error: OnError = "raise",
    seed: int = 0,
    verbose: Verbosity = "auto",
) -> CrossValidation:
    """Tells how well a linear head on a model's features does on images it has not seen.

    Every image is held out once, and the head that is asked about it was solved on the
    other folds, by `probe`'s method. The penalty of each head is chosen there, too, by
    folds of these, so that no held-out image has a say in anything (nested
    cross-validation, Varma and Simon 2006, doi:10.1186/1471-2105-7-91). For small data
    this is a surer number than one split gives: all images count.

    Features are computed once for each image. The model is not changed, and its own head
    plays no part: if it has hidden units, a linear head is what is validated, and the log
    says so.

    Args:
        model: A `Classifier`.
        data: As in `fit`: all labelled images, not divided. Images that show the same
            picture stay in one fold; those of a `tf.data.Dataset` are not compared.
        k: Number of folds, at least 2. With 2, the penalty is chosen by halves of halves.
        penalties: As in `probe`.
        class_weight: As in `fit`; balanced by the images of each training set. The
            accuracy and the losses are not weighted.
        batch_size: Images whose features are computed at a time.
        cache: As in `fit`.
        precision: As in `fit`.
        on_error: As in `fit`.
        seed: Decides the folds.
        verbose: As in Keras.

    Returns:
        A `CrossValidation`.

    Raises:
        CacheError: If the cache folder cannot be written or the disk is full.
        DataError: If the data does not fit the model, has fewer pictures than folds, or
            holds a photo that cannot be read.
        ValueError: If an argument is out of range.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(
    ...     class_names=data.class_names, weights=None, input_shape=(32, 32, 3)
    ... )
    >>> found = kr.cross_validate(model, data, k=3, verbose=0)
    >>> len(found.accuracies), len(found.report)
    (3, 30)
    """
    method = checked_method(model, k, penalties, class_weight)
    table = tabulated(
        model,
        data,
        method,
        k,
        on_error=on_error,
        seed=seed,
        batch_size=batch_size,
        cache=cache,
        precision=precision,
        verbose=verbose,
    )
    scores, chosen = held_out(table, method, np.ones(len(table.labels), bool))
    report_edges(method.penalties, chosen)
    report = Report(table.class_names, table.labels, scores, table.sources)
    folds = table.parts % k
    own = scores[np.arange(len(folds)), table.labels]
    losses = -np.log(np.maximum(own, np.finfo(np.float64).tiny))
    return CrossValidation(
        report=report,
        accuracies=by_fold(report.predicted == table.labels, folds, k),
        losses=by_fold(losses, folds, k),
        penalties=chosen,
    )
