"""What is watched while a model is trained, so that nothing goes wrong in silence.

Each check costs next to nothing. What is done about a finding is decided in `rounds`.
"""

import logging
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasresnet.classifier import Classifier
from kerasresnet.decoding import Pixels, digest
from kerasresnet.division import OnError
from kerasresnet.errors import listing
from kerasresnet.images import ImageData
from kerasresnet.inputs import Data, Inputs, checked_inputs
from kerasresnet.intervals import wilson_interval
from kerasresnet.keeping import Snapshot
from kerasresnet.pixels import content_digests

# A first loss so many times that of guessing is no chance, whatever the first weights.
_FAR = 3.0
# A loss so many times the first one, or that of guessing, will not come back.
_DIVERGED = 4.0
_FEW = 64  # values of an image

_log = logging.getLogger(__name__)


class Watch(keras.callbacks.Callback):
    """Watches one round of training.

    Args:
        classes: Number of classes.
        fresh: Whether the head has not been trained before.
        least: Validation accuracy below which the first epoch has done harm, or None.
    """

    async_safe = True  # or Keras would wait for each batch, which takes time on a GPU

    def __init__(self, classes: int, *, fresh: bool, least: float | None) -> None:
        super().__init__()
        self._guess = math.log(classes)
        self._fresh = fresh
        self._least = -math.inf if least is None else least
        self._first: float | None = None
        self._begun = False
        self._sums: dict[str, tuple[float, float]] = {}
        self._good: Snapshot | None = None
        self.broken = ""
        self.fell_to: float | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Notes what the trained weights are."""
        del logs
        self._sums = _sums(self.model)
        self._good = Snapshot(self.model.trainable_variables)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the loss so far in this epoch."""
        loss = (logs or {}).get("loss")
        if loss is None or self.broken:
            return
        loss = float(loss)
        if self._first is None:
            self._first = loss
            self._judge_first(loss)
        if not math.isfinite(loss):
            self._stop(f"the loss became {loss} in batch {batch + 1} of an epoch")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Looks at the loss of an epoch, and at the validation accuracy of the first."""
        logs = logs or {}
        loss = float(logs.get("loss", 0.0))
        limit = _DIVERGED * max(self._first or 0.0, self._guess)
        if not self.broken and not loss <= limit:
            self._stop(
                f"the loss was {loss:.3g} in epoch {epoch + 1}, where guessing gives "
                f"{self._guess:.3g}"
            )
        if not self.broken and self._good is not None:
            self._good.take()
        reached = logs.get("val_accuracy", math.inf)
        if not self._begun and reached < self._least:
            self.fell_to = float(reached)
            self.model.stop_training = True
        self._begun = True

    def on_train_end(self, logs: Any = None) -> None:
        """Says which of the trained weights have not moved."""
        del logs
        if self.broken or not self._begun:
            return
        after = _sums(self.model)
        still = [path for path, sums in self._sums.items() if after.get(path) == sums]
        if still:
            _log.warning(
                "%d of %d trained weights did not move: %s. The learning rate may be 0, "
                "or no gradient reaches them.",
                len(still),
                len(after),
                listing(still),
            )

    def restore(self) -> None:
        """Gives the model the weights of the end of the last good epoch."""
        if self._good is not None:
            self._good.restore()

    def _judge_first(self, loss: float) -> None:
        if self._fresh and loss > _FAR * self._guess:
            _log.warning(
                "The first loss is %.3g, where guessing gives ln(classes) = %.3g: the "
                "network's weights are random, the images are not what it was trained on, "
                "or the labels do not belong to them. Random weights need their batch norm "
                "trained, too: set_trainable(model, 'conv1', batch_norm='trained').",
                loss,
                self._guess,
            )

    def _stop(self, what: str) -> None:
        self.broken = what
        self.model.stop_training = True


def _sums(model: keras.Model) -> dict[str, tuple[float, float]]:
    values = {weight.path: np.asarray(weight) for weight in model.trainable_variables}
    return {
        path: (float(np.sum(value)), float(np.sum(value * value)))
        for path, value in values.items()
    }


def least_of(accuracy: float | None, images: int) -> float | None:
    """Returns the accuracy below which it is no chance that it fell: the interval's end.

    Args:
        accuracy: What it was, 0..1, or None.
        images: Number of images that it was measured on.
    """
    if accuracy is None or not images:
        return None
    return wilson_interval(round(accuracy * images), images)[0]


def report_one_class(
    accuracy: float | None, images: Any, predicted: Callable[[], Pixels]
) -> None:
    """Says so in the log if a model answers every validation image with the same class.

    Args:
        accuracy: Validation accuracy, 0..1, or None.
        images: The validation data.
        predicted: Returns the model's class of each image. It is called only if the
            accuracy is the share of a class, as it must be then.
    """
    if accuracy is None or not isinstance(images, ImageData):
        return
    counts = images.counts()
    shares = [count / len(images) for count in counts.values()]
    if not any(abs(accuracy - share) < 0.5 / len(images) for share in shares):
        return
    found = np.unique(predicted())
    if len(found) == 1 and sum(count > 0 for count in counts.values()) > 1:
        _log.warning(
            "The model calls every validation image %r: it has learned nothing, or has "
            "diverged. Try another learning rate.",
            images.class_names[int(found[0])],
        )


def watched_inputs(
    model: Classifier, train: Data, validation: Data | None, on_error: OnError
) -> Inputs:
    """Checks data as `checked_inputs` does, and says what is suspicious about it.

    Args:
        model: What it is for.
        train: As in `fit`.
        validation: As in `fit`.
        on_error: As in `fit`.
    """
    inputs = checked_inputs(model, train, validation, on_error)
    if isinstance(inputs.train, ImageData):
        _report_absent(inputs.train)
        if isinstance(inputs.validation, ImageData):
            _report_shared(inputs.train, inputs.validation)
    return inputs


def _report_shared(train: ImageData, validation: ImageData) -> None:
    shared = _shared(train, validation)
    if shared:
        _log.warning(
            "%d of %d validation images are among the training images, so that validation "
            "accuracy is too high: %s. data.split(0.2) keeps them apart.",
            len(shared),
            len(validation),
            listing(shared),
        )


def _shared(train: ImageData, validation: ImageData) -> list[str]:
    """The validation images whose content is that of a training image."""
    if train.images is None or validation.images is None:
        found = [content_digests(train), content_digests(validation)]
    else:
        # The digests of a large array take seconds: a few pixels tell most images apart.
        few = [_few_pixels(train), _few_pixels(validation)]
        both = set(few[0]) & set(few[1])
        found = [
            [
                digest(_pixels(data, n)) if key in both else ""
                for n, key in enumerate(keys)
            ]
            for data, keys in zip((train, validation), few, strict=True)
        ]
    known = set(found[0]) - {""}
    sources = zip(validation.sources, found[1], strict=True)
    return [source for source, held in sources if held in known]


def _few_pixels(data: ImageData) -> list[bytes]:
    flat = (_pixels(data, n).reshape(-1) for n in range(len(data)))
    return [values[:: max(1, values.size // _FEW)].tobytes() for values in flat]


def _pixels(data: ImageData, index: int) -> Pixels:
    return np.asarray(data.photo(index))


def _report_absent(train: ImageData) -> None:
    absent = [name for name, count in train.counts().items() if not count]
    if absent:
        _log.warning(
            "No training image is of %s, which the model will never answer.",
            listing(absent),
        )
