"""Loss and accuracy for class labels in either form: integers or rows.

A row holds a share for each class: one-hot, or smoothed, or that of a mixed image.
"""

import re
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasresnet.backends import backend

# The smallest float32 that all devices compute with; below it there is no gradient.
_LEAST = float(np.finfo("float32").tiny)


@keras.saving.register_keras_serializable("kerasresnet")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy between class labels and probabilities.

    Args:
        label_smoothing: Share of the label that is spread over all classes, in [0, 1).
            https://arxiv.org/abs/1512.00567, section 7.
        name: Name of the loss.
        reduction: How the losses of a batch are combined, as in Keras.
        dtype: Computation dtype, as in Keras.

    Example:

    >>> loss = CrossEntropy()
    >>> probabilities = np.array([[0.5, 0.25, 0.25]], "float32")
    >>> round(float(loss(np.array([0]), probabilities)), 4)
    0.6931
    >>> round(float(loss(np.array([[1, 0, 0]]), probabilities)), 4)
    0.6931
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        name: str = "cross_entropy",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be at least 0 and below 1, received {label_smoothing}."
            )
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each image.

        Args:
            y_true: Integers of shape `(N,)` or `(N, 1)`, or rows `(N, classes)`.
            y_pred: Probabilities of shape `(N, classes)`.

        Returns:
            A tensor of shape `(N,)`; NaN for a label that is not a class.
        """
        rows = _rows(y_true, y_pred)
        if backend() != "tensorflow":
            return self._of_probabilities(rows, ops.convert_to_tensor(y_pred))
        return keras.losses.categorical_crossentropy(
            rows, y_pred, label_smoothing=self.label_smoothing
        )

    def _of_probabilities(self, rows: Any, probabilities: Any) -> Any:
        # On TensorFlow alone Keras finds the logits behind a softmax. Elsewhere its loss
        # cuts probabilities off at 1e-7: a class that is surely wrong has no gradient.
        share = self.label_smoothing / probabilities.shape[-1]
        rows = rows * (1.0 - self.label_smoothing) + share
        return -ops.sum(rows * ops.log(ops.maximum(probabilities, _LEAST)), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Returns for each image 1 if the most probable class is the labelled one, else 0.

    Of a mixed image that is the class with the largest share.

    Args:
        y_true: Integers of shape `(N,)` or `(N, 1)`, or rows `(N, classes)`.
        y_pred: Probabilities of shape `(N, classes)`.

    Returns:
        A float tensor of shape `(N,)`.
    """
    hits = ops.equal(ops.argmax(_rows(y_true, y_pred), -1), ops.argmax(y_pred, -1))
    return ops.cast(hits, keras.config.floatx())


@keras.saving.register_keras_serializable("kerasresnet")
class Accuracy(keras.metrics.MeanMetricWrapper):
    """The mean of `accuracy`, for labels in either form.

    Args:
        name: Name of the metric.
        dtype: Computation dtype, as in Keras.
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name=name, dtype=dtype)
        # By this Keras's callbacks know that more is better.
        self._direction = "up"

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}


def takers_of_integers(model: keras.Model) -> list[str]:
    """Returns those of a compiled model's losses and metrics that cannot take rows."""
    config = model.get_compile_config()
    used = repr([config.get(key) for key in ("loss", "metrics", "weighted_metrics")])
    return sorted(set(re.findall(r"\bsparse_?\w+", used, re.IGNORECASE)))


def _rows(y_true: Any, y_pred: Any) -> Any:
    """Labels as rows of shape `(N, classes)`."""
    y_true = ops.convert_to_tensor(y_true)
    classes = y_pred.shape[-1]
    if len(y_true.shape) == 2 and y_true.shape[-1] == classes:
        return ops.cast(y_true, y_pred.dtype)
    numbers = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    known = ops.logical_and(numbers >= 0, numbers < classes)
    # Of any other number this makes a row of zeros, whose loss would be a silent 0; and
    # torch refuses to make a `one_hot` of it.
    matches = ops.equal(numbers[:, None], ops.arange(classes, dtype="int32"))
    rows = ops.cast(matches, y_pred.dtype)
    return ops.where(known[:, None], rows, ops.cast(float("nan"), y_pred.dtype))
