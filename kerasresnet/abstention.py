"""The threshold below which a model says that it does not know, with a guarantee."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, binom

from kerasresnet.certainty import check_unknown
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError
from kerasresnet.errors import DataError
from kerasresnet.evaluation import evaluate
from kerasresnet.inputs import Data


@dataclass(frozen=True)
class Threshold:
    """A threshold, and what is known of the answers above it. `print` shows it.

    Args:
        threshold: Probability from which on an answer is given, 0..1.
        max_error: Share of wrong answers that is not exceeded.
        confidence: How sure that is, 0..1.
        images: Number of images that it was tested on.
        answered: Number of them that get an answer.
        errors: Number of answers that are wrong.
    """

    threshold: float
    max_error: float
    confidence: float
    images: int
    answered: int
    errors: int

    @property
    def coverage(self) -> float:
        """Share of the images that get an answer, 0..1."""
        return self.answered / self.images

    @property
    def error_rate(self) -> float:
        """Share of the answers that are wrong, 0..1, on the images it was tested on."""
        return self.errors / self.answered

    def __str__(self) -> str:
        return (
            f"threshold {self.threshold:.4f}: {self.answered:,} of {self.images:,} images "
            f"(a tenth of all said where to begin) answered ({self.coverage:.1%}), {self.errors:,} of them wrong "
            f"({self.error_rate:.1%}); at most {self.max_error:.1%} of such answers are "
            f"wrong, with a confidence of {self.confidence:.0%}"
        )


def choose_threshold(
    model: Classifier,
    validation: Data,
    *,
    max_error: float = 0.02,
    confidence: float = 0.95,
    batch_size: int = 32,
    on_error: OnError = "raise",
) -> Threshold:
    """Chooses the probability below which a model says `"unknown"`.

    With the given confidence, at most `max_error` of the answers are wrong, on images like
    these: whatever the model, and with no assumption on its probabilities. Thresholds are
    tested from strict to lax, each by the exact binomial tail of the errors above it, up to
    the first that fails: fixed-sequence testing of Learn then Test (Angelopoulos et al.
    2021, https://arxiv.org/abs/2110.01052), for the risk of selective classification
    (Geifman & El-Yaniv 2017, https://arxiv.org/abs/1705.08500). A tenth of the images says
    only where to begin.

    The threshold is written to `model.threshold`, saved with the model, and used by
    `predict`; `evaluate` is of all images, as ever. `model.threshold = None` takes it away.
    `calibrate` first, if at all: it takes a threshold away. Strictly, with other images,
    since which image is surer than which depends a little on the temperature.
    Foreign images are not covered: see `Familiarity`.

    Args:
        model: A `Classifier`. Its `threshold` is set.
        validation: As in `evaluate`: images like those to come, each independent of the
            others, which neither trained the model nor chose its epoch or penalty.
        max_error: Share of the answers that may be wrong, in (0, 1).
        confidence: How sure that shall be, in (0, 1).
        batch_size: Images in a batch.
        on_error: As in `evaluate`.

    Returns:
        A `Threshold`.

    Raises:
        DataError: If the images cannot show this of any threshold. The model is then as it
            was. Also as in `evaluate`.
        ValueError: If an argument is out of range, or a class is called `"unknown"`.

    Example:

    >>> labels = np.arange(400) % 2  # 400 images, dark and light in turn
    >>> images = np.random.default_rng(0).integers(0, 100, (400, 32, 32, 3), "uint8")
    >>> images[labels == 1] += 100
    >>> model = kr.build_classifier(2, weights=None, input_shape=(32, 32, 3))
    >>> _ = kr.probe(model, (images[:100], labels[:100]), verbose=0)
    >>> found = kr.choose_threshold(model, (images[100:], labels[100:]))
    >>> found.threshold == model.threshold, found.errors
    (True, 0)
    """
    check_classifier(model)
    check_unknown(model.class_names)
    for name, share in (("max_error", max_error), ("confidence", confidence)):
        if not 0 < share < 1:
            raise ValueError(
                f"{name} must be a share between 0 and 1, received {share}."
            )
    report = evaluate(model, validation, batch_size=batch_size, on_error=on_error)
    check_unknown(report.class_names)
    found = find_threshold(
        report.probabilities.max(axis=1),
        report.predicted != report.labels,
        max_error=max_error,
        confidence=confidence,
    )
    model.threshold = found.threshold
    return found


def find_threshold(
    probabilities: Pixels, wrong: Pixels, *, max_error: float, confidence: float
) -> Threshold:
    """Finds the lowest threshold of which the guarantee can be given.

    Args:
        probabilities: Of the most probable class of each image, of shape `(N,)`.
        wrong: Whether it is the wrong one, bools of shape `(N,)`.
        max_error: As in `choose_threshold`.
        confidence: As in `choose_threshold`.

    Raises:
        DataError: If there is none.
    """
    fewest = fewest_images(max_error, confidence)
    if len(wrong) < fewest:
        raise DataError(
            f"There are {len(wrong):,} images, too few. That at most {max_error:.2%} of the answers "
            f"are wrong, with a confidence of {confidence:.0%}, takes at least {fewest:,} that "
            "get an answer, even if all are right. Pass more images, or a larger max_error."
        )
    probabilities = probabilities.astype("float64")
    start, tested = _start(probabilities, fewest)
    order = tested[np.argsort(-probabilities[tested], kind="stable")]
    sure, errors = probabilities[order], np.append(0, wrong[order].cumsum())
    first = int(np.sum(sure >= start))
    # Images as probable as each other are answered together.
    ends = np.append(np.flatnonzero(sure[1:] < sure[:-1]) + 1, len(sure))
    ends = np.unique(np.append(first, ends[ends > first]))
    failed = np.flatnonzero(
        binom.cdf(errors[ends], ends, max_error) > 1 - confidence
    ).tolist()
    passed = ends[: failed[0]] if failed else ends
    if not len(passed):
        raise DataError(_verdict(first, int(errors[first]), max_error, confidence))
    answered = int(passed[-1])
    # Down to the next image nothing changes; half the way no rounding changes anything.
    threshold = 0.0
    if answered < len(sure):
        threshold = (min(sure[answered - 1], start) + sure[answered]) / 2
    return Threshold(
        threshold=float(threshold),
        max_error=max_error,
        confidence=confidence,
        images=len(sure),
        answered=answered,
        errors=int(errors[answered]),
    )


def fewest_images(max_error: float, confidence: float) -> int:
    """Returns how many answers, all of them right, the guarantee takes at least."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-max_error) - 1e-9)


def _start(probabilities: Pixels, fewest: int) -> tuple[float, Pixels]:
    """The threshold to begin with, and the numbers of the images to test on.

    It must not depend on the images that test it. Strict, since the test of a lax one
    fails; but not so strict that a single error fails it, since too few are answered.
    """
    order = np.random.default_rng(0).permutation(len(probabilities))
    tenth = len(order) // 10
    rest = len(order) - tenth
    shares = np.linspace(0, 1, 101)
    # Where the tenth puts a share of the images, it is off by this, with 95 %.
    off = 2 * np.sqrt(shares * (1 - shares) / max(tenth, 1))
    enough = float(shares[(shares - off) * rest >= fewest].min(initial=1.0))
    share = max(enough, min(4 * fewest / rest, 1 / 3))
    if share >= 1 or not tenth:
        return 0.0, order
    start = np.quantile(probabilities[order[:tenth]], 1 - share)
    return float(start), order[tenth:]


def _verdict(answered: int, errors: int, max_error: float, confidence: float) -> str:
    bound = 1.0
    if errors < answered:
        bound = float(beta.ppf(confidence, errors + 1, answered - errors))
    return (
        f"No threshold can be given: of the {answered:,} images of which the model is "
        f"surest, {errors:,} are called wrong, so that up to {bound:.1%} of such answers may "
        f"be (with a confidence of {confidence:.0%}), more than {max_error:.2%}. Pass more "
        "images or a larger max_error, or train a better model."
    )
