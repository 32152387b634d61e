"""Compile, train and fine-tune: shorter than Keras's own calls, never required."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import keras
import numpy as np

from kerasresnet.arrays import check_names
from kerasresnet.augmentation import Augmentation, Preset, as_augmentation, mixes
from kerasresnet.backbones import TrainableStage
from kerasresnet.balance import ClassWeight, Sampling, check_balance, class_weights
from kerasresnet.caching import Cache
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.datasets import checked_dataset, data_errors, is_dataset
from kerasresnet.division import OnError, readable
from kerasresnet.errors import listing, unknown
from kerasresnet.extraction import Verbosity
from kerasresnet.feeding import Feed, FeedSettings
from kerasresnet.freezing import (
    as_if_trained_from,
    check_stage,
    compile_settings,
    frozen_until,
    recompile,
    set_trainable,
    stage_before,
)
from kerasresnet.images import ImageData
from kerasresnet.losses import Accuracy, CrossEntropy, takers_of_integers
from kerasresnet.pipeline import Data, as_image_data, training_images
from kerasresnet.precision import Precision, check_precision
from kerasresnet.twins import Twin

_LEARNING_RATE = 1e-3
_log = logging.getLogger(__name__)


def compile_classifier(
    model: Classifier,
    *,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
    label_smoothing: float = 0.0,
    metrics: Sequence[Any] | None = None,
) -> None:
    """Compiles a classifier for integer or one-hot labels.

    Args:
        model: A `Classifier`. It is changed.
        optimizer: Name of a Keras optimizer, such as `"adam"` or `"sgd"` (which gets
            Nesterov momentum 0.9), or an optimizer, whose own rate is kept.
        learning_rate: Rate or schedule, if `optimizer` is a name.
        label_smoothing: Share of the label that is spread over all classes, in [0, 1).
        metrics: Keras metrics. Defaults to accuracy.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> model = kr.build_classifier(5, weights=None, input_shape=(64, 64, 3))
    >>> kr.compile_classifier(model, optimizer="sgd", learning_rate=0.01)
    >>> type(model.optimizer).__name__
    'SGD'
    """
    check_classifier(model)
    model.compile(
        optimizer=_optimizer(optimizer, learning_rate),
        loss=CrossEntropy(label_smoothing),
        metrics=[Accuracy()] if metrics is None else list(metrics),
    )


def fit(  # noqa: PLR0913 - the public contract
    model: Classifier,
    train: Data,
    validation: Data | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float | None = None,
    augmentation: Augmentation | Preset | None = None,
    class_weight: ClassWeight | None = None,
    sampling: Sampling | None = None,
    cache: Cache = "auto",
    precision: Precision = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    on_error: OnError = "raise",
    seed: int = 0,
    verbose: Verbosity = "auto",
) -> keras.callbacks.History:
    """Trains what is trainable now: after `build_classifier`, the head.

    What is frozen is computed once for each photo, and its features are kept; each epoch
    trains only what lies behind. Data is checked before the first step. A model that is not compiled is compiled with
    Adam; a compiled one keeps its optimizer, loss and metrics. A model without class
    names takes those of the data.

    Args:
        model: A `Classifier`. It is changed.
        train: `ImageData`; or a pair `(images, labels)` of arrays; or a
            `tf.data.Dataset` of batches with images in 0..255 at the model's size.
        validation: The same, scored after each epoch.
        epochs: Number of passes over `train`.
        batch_size: Images in a batch. A `Dataset` keeps its own size.
        learning_rate: The optimizer's rate. Defaults to 1e-3 for a model that is not
            compiled, and to its own rate for one that is.
        augmentation: Random views of the training images: an `Augmentation`, or
            `"light"`, `"standard"` or `"strong"`. `Augmentation(views=8)` has features
            that can be kept. If it mixes images, accuracy in training asks for the class
            with the largest share.
        class_weight: Makes errors on images of some classes count more: `"balanced"`,
            all classes the same in sum, or a dict from class names or numbers to
            weights; others have 1.
        sampling: `"balanced"` draws the images of an epoch in equal numbers from all
            classes: some images of large classes are left out, those of small ones come
            again. Defaults to each image once.
        cache: Where features of the frozen part are kept: `"auto"` in the user's cache
            folder (`KERASRESNET_CACHE` moves it), a folder, `"memory"` for this call, or
            False to compute them in every epoch. What cannot be kept is computed in
            every epoch, too: new random views, and with `"auto"` a `Dataset`, whose
            images nobody knows to be the same.
        precision: What convolutions compute in: `"float32"`, `"bfloat16"`, or `"auto"`,
            bfloat16 where the device is good at it. Weights and head are float32.
        callbacks: Keras callbacks.
        on_error: What becomes of photos that cannot be read: `"raise"` ends the call
            before the first step and names them, `"skip"` leaves them out of everything,
            and the log names them.
        seed: Decides order and views of the training images.
        verbose: As in Keras: 0 silent, 1 progress bar, 2 a line for each epoch.

    Returns:
        Keras's `History`.

    Raises:
        CacheError: If the cache folder cannot be written or the disk is full.
        DataError: If the data does not fit the model, or a photo cannot be read.
        ValueError: If an argument is out of range.

    Example:

    >>> train, validation = kr.ImageData.from_folder("flower_photos").split(0.2)
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> history = kr.fit(model, train, validation, epochs=2, verbose=0)
    >>> sorted(history.history)
    ['accuracy', 'loss', 'val_accuracy', 'val_loss']
    >>> model.class_names
    ('daisy', 'dandelion', 'roses', 'sunflowers', 'tulips')
    """
    check_classifier(model)
    _check_run(epochs, learning_rate, precision)
    views = as_augmentation(augmentation)
    settings = FeedSettings(batch_size, views, cache, seed, verbose, sampling)
    settings.check(train)
    check_balance(class_weight, sampling)
    _check_labels(model, views)
    if model.compiled and model.stale:
        compile_settings(model)  # may refuse, which it must before the slow work
    inputs = _inputs(model, train, validation, on_error)
    weights = class_weights(class_weight, _counts(inputs, class_weight))
    with data_errors():
        feed = Feed(model, frozen_until(model), precision, settings)
        batches = feed.batches(inputs.train, inputs.validation)
    _prepare(model, inputs, learning_rate)
    return _run(model, feed.twin(), batches, epochs, callbacks, verbose, weights)


def fine_tune(  # noqa: PLR0913 - the public contract
    model: Classifier,
    train: Data,
    validation: Data | None = None,
    *,
    from_stage: TrainableStage = "conv5",
    epochs: int = 5,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    augmentation: Augmentation | Preset | None = None,
    class_weight: ClassWeight | None = None,
    sampling: Sampling | None = None,
    cache: Cache = "auto",
    precision: Precision = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    on_error: OnError = "raise",
    seed: int = 0,
    verbose: Verbosity = "auto",
) -> keras.callbacks.History:
    """Unfreezes the network from a stage onwards and trains it at a low rate.

    Batch normalisation stays still. Train the head first, with `fit`: a random head
    would send large gradients through the pretrained layers. The optimizer starts
    afresh, with the settings of the model's own if it is compiled.

    Args:
        model: A `Classifier`. It is changed, and stays unfrozen afterwards.
        train: As in `fit`.
        validation: As in `fit`.
        from_stage: First stage to train, `"conv1"` (everything) to `"conv5"`.
        epochs: Number of passes over `train`.
        batch_size: Images in a batch.
        learning_rate: The optimizer's rate.
        augmentation: As in `fit`.
        class_weight: As in `fit`.
        sampling: As in `fit`.
        cache: As in `fit`.
        precision: As in `fit`.
        callbacks: Keras callbacks.
        on_error: As in `fit`.
        seed: Decides order and views of the training images.
        verbose: As in Keras.

    Returns:
        Keras's `History`.

    Raises:
        CacheError: If the cache folder cannot be written or the disk is full.
        DataError: If the data does not fit the model, or a photo cannot be read.
        ValueError: If an argument is out of range.

    Example:

    >>> train, validation = kr.ImageData.from_folder("flower_photos").split(0.2)
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> history = kr.fit(model, train, epochs=1, verbose=0)
    >>> history = kr.fine_tune(model, train, validation, epochs=1, verbose=0)
    """
    check_classifier(model)
    check_stage(from_stage)
    _check_run(epochs, learning_rate, precision)
    views = as_augmentation(augmentation)
    settings = FeedSettings(batch_size, views, cache, seed, verbose, sampling)
    settings.check(train)
    check_balance(class_weight, sampling)
    _check_labels(model, views)
    if model.compiled:
        compile_settings(model)  # may refuse, which it must before the slow work
    inputs = _inputs(model, train, validation, on_error)
    weights = class_weights(class_weight, _counts(inputs, class_weight))
    with data_errors(), as_if_trained_from(model, from_stage):
        feed = Feed(model, stage_before(from_stage), precision, settings)
        batches = feed.batches(inputs.train, inputs.validation)
    set_trainable(model, from_stage)
    _prepare(model, inputs, learning_rate)
    return _run(model, feed.twin(), batches, epochs, callbacks, verbose, weights)


def _optimizer(optimizer: Any, learning_rate: Any) -> Any:
    if not isinstance(optimizer, str):
        return optimizer
    known = {
        name.lower(): kind
        for name, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)
    }
    if optimizer.lower() not in known:
        raise unknown("optimizer", optimizer, sorted(known))
    if optimizer.lower() == "sgd":
        return known["sgd"](learning_rate, momentum=0.9, nesterov=True)
    return known[optimizer.lower()](learning_rate)


def _check_run(epochs: Any, learning_rate: Any, precision: Precision) -> None:
    if learning_rate is not None and not isinstance(learning_rate, int | float):
        raise ValueError(
            f"learning_rate must be a number, received {learning_rate!r}. A schedule goes "
            "to compile_classifier(model, learning_rate=schedule)."
        )
    if not isinstance(epochs, Integral) or epochs < 1:
        raise ValueError(
            f"epochs must be a whole number of at least 1, received {epochs}."
        )
    if learning_rate is not None and not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive, received {learning_rate}.")
    check_precision(precision)


@dataclass(frozen=True)
class _Inputs:
    """Checked data, and the class names that its labels count in."""

    class_names: tuple[str, ...]
    named: bool
    train: Any
    validation: Any


def _check_labels(model: Classifier, augmentation: Augmentation | None) -> None:
    if not model.compiled or not mixes(augmentation):
        return
    found = takers_of_integers(model)
    if found:
        raise ValueError(
            f"mixup and cutmix make float rows of the labels, but the model was compiled "
            f"with {listing(found)}, which takes integers. compile_classifier(model) takes "
            "labels of either form."
        )


def _inputs(
    model: Classifier, train: Data, validation: Data | None, on_error: OnError
) -> _Inputs:
    """Checks all that may be refused of the data, before anything is changed or computed."""
    if isinstance(train, tuple | list) and len(train) == 2 and not model.named:
        train = ImageData.from_arrays(*train)
    names, named = _names_after(model, train)
    size = model.image_size
    if is_dataset(train):
        train = checked_dataset(train, names, named, size)
    else:
        train = readable(training_images(train, names, named=named), on_error)
    if is_dataset(validation):
        validation = checked_dataset(validation, names, named, size)
    elif validation is not None:
        validation = as_image_data(validation, names, named=named)
        validation = readable(validation, on_error)
    return _Inputs(names, named, train, validation)


def _counts(inputs: _Inputs, class_weight: Any) -> dict[str, int]:
    """Number of training images of each class; of a dataset only if it is asked for."""
    if not is_dataset(inputs.train):
        return inputs.train.counts()
    found = np.zeros(len(inputs.class_names), "int64")
    if class_weight == "balanced":
        _log.info("The labels of the tf.data.Dataset are counted, in one pass over it.")
        with data_errors():
            for _, labels, *_ in inputs.train:
                numbers = np.asarray(labels)
                if numbers.ndim == 2 and numbers.shape[1] > 1:
                    numbers = numbers.argmax(axis=1)
                numbers = numbers.reshape(-1).astype("int64")
                found += np.bincount(numbers, minlength=len(found))
    return dict(zip(inputs.class_names, found.tolist(), strict=True))


def _names_after(model: Classifier, train: Data) -> tuple[tuple[str, ...], bool]:
    """The class names that the model will have, its own or the data's if it has none."""
    # Keras's image_dataset_from_directory puts the names on its dataset, too.
    found = check_names(getattr(train, "class_names", None) or ())
    named = getattr(train, "named", True) and len(found) == len(model.class_names)
    return (
        (found, True) if named and not model.named else (model.class_names, model.named)
    )


def _prepare(model: Classifier, inputs: _Inputs, learning_rate: float | None) -> None:
    if inputs.named and not model.named:
        trained = model.compiled and int(model.optimizer.iterations) > 0
        _log.log(
            logging.WARNING if trained else logging.INFO,
            "The model%s takes the data's names, in their order: %s.",
            ", trained without class names," if trained else "",
            listing(inputs.class_names),
        )
        model.class_names = inputs.class_names
    if not model.compiled:
        compile_classifier(model, learning_rate=learning_rate or _LEARNING_RATE)
    elif model.stale:
        recompile(model, learning_rate=learning_rate)
    elif learning_rate is not None:
        if isinstance(model.optimizer.learning_rate, keras.Variable):
            model.optimizer.learning_rate = learning_rate
        else:  # a schedule cannot be assigned to
            recompile(model, learning_rate=learning_rate)


def _run(
    model: Classifier,
    twin: Twin,
    batches: tuple[Any, Any],
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: Verbosity,
    class_weight: dict[int, float] | None,
) -> keras.callbacks.History:
    train, validation = batches
    if not model.optimizer.built:
        # Else Keras traces the training step twice, which takes seconds.
        model.optimizer.build(model.trainable_variables)
    with data_errors(), model.trained_through(twin):
        return model.fit(
            train,
            validation_data=validation,
            epochs=epochs,
            callbacks=[*callbacks, _still(twin)],
            class_weight=class_weight,
            verbose=verbose,
            shuffle=False,  # the batches come shuffled
        )


def _still(twin: Twin) -> keras.callbacks.Callback:
    """Stops a run whose callbacks have changed what is frozen; the last in the list."""
    return keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: twin.check_frozen(),
        on_train_end=lambda logs: twin.check_frozen(),
    )
