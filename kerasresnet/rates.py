"""`find_learning_rate`: how high the rate may be before the loss runs away.

The range test of Smith (2015, https://arxiv.org/abs/1506.01186, section 3.3) as fastai's
`lr_find` does it (https://docs.fast.ai/callback.schedule.html). The model is as before.
What the curve of losses tells is decided in `curves`.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np

from kerasresnet.augmentation import Augmentation, Preset, as_augmentation
from kerasresnet.backbones import TrainableStage
from kerasresnet.backends import sync
from kerasresnet.balance import ClassWeight, class_weights
from kerasresnet.caching import Cache
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.curves import Curve, is_diverged, marks_of
from kerasresnet.datasets import data_errors
from kerasresnet.division import OnError
from kerasresnet.errors import DivergenceError
from kerasresnet.extraction import Verbosity
from kerasresnet.feeding import Feed, FeedSettings
from kerasresnet.freezing import check_stage, compile_settings, frozen_until
from kerasresnet.inputs import Data, class_counts
from kerasresnet.keeping import Snapshot
from kerasresnet.losses import CrossEntropy
from kerasresnet.precision import Precision
from kerasresnet.preparing import unfrozen_from
from kerasresnet.recording import build_metrics
from kerasresnet.sentinels import watched_inputs
from kerasresnet.training import check_run
from kerasresnet.twins import Twin

_FEWEST_STEPS = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearningRates:
    """What `find_learning_rate` found: the loss at each rate, and the rates to use.

    Args:
        rates: The rate of each step, growing.
        losses: The loss of each step's batch, before the step. The last one may be
            infinite or NaN.
        smoothed: Their exponential moving average with momentum 0.98, corrected for its
            beginning at 0.
        suggestion: The rate in the middle of the longest fall of the smoothed loss,
            fastai's "valley"; NaN if there is none, or if it may be chance and the loss
            did not run away either. `fit` refuses NaN.
        steepest: The rate at which the smoothed loss falls fastest, over the logarithm of
            the rate.
        minimum: A tenth of the rate at which the smoothed loss is lowest.

    The first tenth of the planned steps and the last five that were done are left out of
    these three, as in fastai; the last two are NaN, too, if no step is left.

    Example:

    >>> rates, losses = (1e-4, 1e-3, 1e-2, 1e-1), (1.6, 1.2, 0.4, 9.0)
    >>> found = LearningRates(rates, losses, losses, 1e-3, 1e-3, 1e-3)
    >>> print(found)
    Learning rate 0.001: the middle of the longest fall of the loss.
    The fall is steepest at 0.001; a tenth of the rate with the lowest loss is 0.001.
    The loss ran away at 0.1.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float
    steepest: float
    minimum: float

    @property
    def diverged(self) -> float | None:
        """The rate at which the loss ran away, or None if it did not."""
        return self.rates[-1] if is_diverged(self.smoothed) else None

    def __str__(self) -> str:
        """Returns the suggestion, the other candidates and where the loss ran away."""
        lines = [
            "No learning rate found: the loss does not fall clearly."
            if math.isnan(self.suggestion)
            else f"Learning rate {self.suggestion:.2g}: the middle of the longest fall of "
            "the loss.",
            f"The fall is steepest at {self.steepest:.2g}; a tenth of the rate with the "
            f"lowest loss is {self.minimum:.2g}.",
            f"The loss did not run away up to {self.rates[-1]:.2g}."
            if self.diverged is None
            else f"The loss ran away at {self.diverged:.2g}.",
        ]
        return "\n".join(lines)


def find_learning_rate(  # noqa: PLR0913 - the public contract
    model: Classifier,
    train: Data,
    *,
    from_stage: TrainableStage | None = None,
    batch_size: int = 32,
    augmentation: Augmentation | Preset | None = None,
    class_weight: ClassWeight | None = None,
    cache: Cache = "auto",
    precision: Precision = "auto",
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    on_error: OnError = "raise",
    seed: int = 0,
    verbose: Verbosity = "auto",
) -> LearningRates:
    """Finds a learning rate by training with a growing one until the loss runs away.

    The rate grows by the same factor from batch to batch (Smith 2015,
    https://arxiv.org/abs/1506.01186). The search ends when the smoothed loss is above
    four times the lowest, or not finite. The suggestion is the middle of its longest
    fall, as in fastai.

    Afterwards the model is as it was: weights, optimizer, flags, names, whether it is
    compiled, even the random numbers of its dropout. It is so, too, if the search fails
    or is interrupted. The search has an optimizer of its own, with the settings of the
    model's, or Adam if the model is not compiled.

    Args:
        model: A `Classifier`. It is the same afterwards.
        train: As in `fit`.
        from_stage: First stage to train, `"conv1"` (everything) to `"conv5"`, as in
            `fine_tune`; train the head first. None for what is trainable now, as in
            `fit`.
        batch_size: Images in a batch. Use the same in `fit`: the best rate depends on it.
        augmentation: As in `fit`.
        class_weight: As in `fit`.
        cache: As in `fit`: features of the frozen part are computed once, and `fit` finds
            them.
        precision: As in `fit`.
        lowest: The first rate, above 0.
        highest: The last rate, if the loss does not run away before.
        steps: Number of batches, at least 20. If an epoch has fewer, the next one, in
            another order, goes on.
        on_error: As in `fit`.
        seed: Decides order and views of the training images.
        verbose: As in Keras: 0 silent, 1 progress bar, 2 a line.

    Returns:
        A `LearningRates`. The log warns if its suggestion is NaN or uncertain, and says
        what to do.

    Raises:
        CacheError: If the cache folder cannot be written or the disk is full.
        DataError: If the data does not fit the model, or a photo cannot be read.
        DivergenceError: If the very first loss is not finite.
        ValueError: If an argument is out of range.

    Example:

    >>> train = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> found = kr.find_learning_rate(model, train, steps=20, verbose=0)
    >>> len(found.rates) == len(found.losses) <= 20
    True
    >>> found.rates[0] <= found.steepest <= found.rates[-1]
    True

    `kr.fit(model, train, learning_rate=found.suggestion)` uses what it found.
    """
    check_classifier(model)
    check_stage(from_stage)
    rates = _rates(lowest, highest, steps)
    views = as_augmentation(augmentation)
    settings = FeedSettings(batch_size, views, cache, seed, verbose)
    check_run(model, train, settings, precision, class_weight)
    compiled = _compiled_as(model, rates[0])  # may refuse, before the slow work
    inputs = watched_inputs(model, train, None, on_error)
    weights = class_weights(class_weight, class_counts(inputs, class_weight))
    search = _Search(rates, verbose)
    with data_errors(), unfrozen_from(model, from_stage):
        feed = Feed(model, frozen_until(model), precision, settings)
        batches = feed.training(inputs.train)
        learner = _Learner(model, feed.twin())
        learner.compile(**compiled)
        # Else Keras traces the training step twice, which takes seconds.
        learner.optimizer.build(learner.trainable_variables)
        build_metrics(learner, batches, len(model.class_names))
        with _brought_back(model):
            learner.fit(
                batches,
                epochs=steps,  # at least one step in each
                callbacks=[search],
                class_weight=weights,
                verbose=0,
                shuffle=False,  # the batches come shuffled
            )
    return _judged(rates, search.curve)


class _Learner(keras.Model):
    """Trains the variables of another model, which notices nothing else.

    Args:
        model: A `Classifier`, with its flags set.
        twin: What computes its answers.
    """

    def __init__(self, model: Classifier, twin: Twin) -> None:
        super().__init__(name="search", dtype=model.dtype_policy, autocast=False)
        self._learned = model
        self._compute = twin
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns class probabilities, as the twin computes them."""
        return self._compute(inputs, training=training)


class _Search(keras.callbacks.Callback):
    """Raises the rate from batch to batch, and stops when the loss has run away.

    Args:
        rates: The rates, one for each batch.
        verbose: As in `find_learning_rate`.
    """

    def __init__(self, rates: Sequence[float], verbose: Verbosity) -> None:
        super().__init__()
        self._rates = rates
        self.curve = Curve()
        self._bar = keras.utils.Progbar(
            len(rates),
            verbose=1 if verbose == "auto" else verbose,
            stateful_metrics=["learning rate", "loss"],
        )

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Sets the rate; Keras is to report the loss of this batch, not of the epoch."""
        del batch, logs
        sync(self.model)
        self.model.reset_metrics()
        self.model.optimizer.learning_rate = self._rates[len(self.curve.losses)]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the loss."""
        del batch
        loss = float((logs or {})["loss"])
        self.curve.add(loss)
        done = len(self.curve.losses)
        over = done == len(self._rates) or is_diverged(self.curve.smoothed)
        if over:
            self.model.stop_training = True
            self._bar.target = done
        values = [("learning rate", self._rates[done - 1]), ("loss", loss)]
        self._bar.update(done, values, finalize=over)


def _compiled_as(model: Classifier, rate: float) -> dict[str, Any]:
    """The model's settings, if it has some, for the search; without metrics."""
    if not model.compiled:
        _log.info("The model is not compiled: the search uses Adam, as fit would.")
        return {"optimizer": keras.optimizers.Adam(rate), "loss": CrossEntropy()}
    settings = compile_settings(model, learning_rate=rate)
    return {
        **settings,
        "metrics": None,
        "weighted_metrics": None,
        "steps_per_execution": 1,
    }


@contextmanager
def _brought_back(model: Classifier) -> Iterator[None]:
    """Gives all variables their values again in the end, those of random seeds, too."""
    before = Snapshot(model.variables)
    try:
        yield
    finally:
        before.restore()


def _rates(lowest: Any, highest: Any, steps: Any) -> list[float]:
    numbers = [isinstance(rate, Real) for rate in (lowest, highest)]
    if not all(numbers) or not 0 < lowest < highest < math.inf:
        raise ValueError(
            f"Expected 0 < lowest < highest, received lowest={lowest!r} and "
            f"highest={highest!r}."
        )
    if not isinstance(steps, Integral) or steps < _FEWEST_STEPS:
        raise ValueError(
            f"steps must be a whole number of at least {_FEWEST_STEPS}, received "
            f"{steps!r}: with fewer, no fall of the loss can be told from chance."
        )
    found: list[float] = np.geomspace(lowest, highest, int(steps)).tolist()
    return found


def _judged(rates: Sequence[float], curve: Curve) -> LearningRates:
    """Reads the suggestions off the curve.

    Args:
        rates: The rates that were planned.
        curve: The losses of the steps that were done.
    """
    first = curve.losses[0]
    if not math.isfinite(first):
        raise DivergenceError(
            f"The loss of the first batch is {first}, at a rate of {rates[0]:.2g}: it is "
            "not the rate's fault. Check the model's weights, its loss and the labels."
        )
    *steps, clear = marks_of(curve, len(rates))
    found = LearningRates(
        tuple(rates[: len(curve.losses)]),
        tuple(curve.losses),
        tuple(curve.smoothed),
        *(math.nan if step is None else rates[step] for step in steps),
    )
    if not clear:
        _report_unclear(found, len(rates))
    return replace(found, minimum=found.minimum / 10)


def _report_unclear(found: LearningRates, planned: int) -> None:
    if found.diverged is None:
        _log.warning(
            "No learning rate found: the loss neither falls clearly nor runs away up to "
            "%.2g. Pass more steps, a larger batch_size or a larger highest; if that does "
            "not help, nothing can be learned from these images with what is trainable.",
            found.rates[-1],
        )
    elif math.isnan(found.suggestion):
        _log.warning(
            "No learning rate found: the loss ran away at %.2g, before it fell. Pass a "
            "lowest far below that.",
            found.diverged,
        )
    else:
        _log.warning(
            "The learning rate is uncertain: before it ran away, the loss fell no further "
            "than it might by chance. A search with steps=%d is surer.",
            2 * planned,
        )
