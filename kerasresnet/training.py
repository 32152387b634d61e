"""Train and fine-tune: shorter than Keras's own calls, never required."""

import logging
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import keras

from kerasresnet.augmentation import Augmentation, Preset, as_augmentation, mixes
from kerasresnet.backbones import TrainableStage
from kerasresnet.balance import ClassWeight, Sampling, check_balance, class_weights
from kerasresnet.caching import Cache
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.division import OnError
from kerasresnet.errors import listing, unknown
from kerasresnet.extraction import Verbosity
from kerasresnet.feeding import FeedSettings
from kerasresnet.freezing import compile_settings
from kerasresnet.inputs import Data, Inputs, class_counts
from kerasresnet.keeping import Best
from kerasresnet.losses import takers_of_integers
from kerasresnet.precision import Precision, check_precision
from kerasresnet.preparing import Round, check_round, trained_in
from kerasresnet.rounds import Course
from kerasresnet.rules import check_order
from kerasresnet.schedules import Schedule
from kerasresnet.sentinels import watched_inputs

Keep: TypeAlias = Literal["best", "last"]

_log = logging.getLogger(__name__)


def fit(  # noqa: PLR0913 - the public contract
    model: Classifier,
    train: Data,
    validation: Data | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float | None = None,
    schedule: Schedule = "constant",
    warmup: float | None = None,
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
    trains only what lies behind. Data is checked before the first step. A model that is
    not compiled is compiled with Adam; a compiled one keeps its optimizer, loss and
    metrics. A model without class names takes those of the data.

    Args:
        model: A `Classifier`. It is changed.
        train: `ImageData`; or a pair `(images, labels)` of arrays; or a
            `tf.data.Dataset` of batches with images in 0..255 at the model's size.
        validation: The same, scored after each epoch.
        epochs: Number of passes over `train`.
        batch_size: Images in a batch. A `Dataset` keeps its own size.
        learning_rate: The optimizer's rate. Defaults to 1e-3 for a model that is not
            compiled, and to its own rate for one that is.
        schedule: How the rate changes from batch to batch: `"constant"`, `"cosine"`
            (falls to 0) or `"one_cycle"` (rises from a 25th, then falls to nearly 0).
            The history tells the rate at the end of each epoch.
        warmup: Share of the steps, 0..1, in which the rate rises at first. Defaults to
            what is usual with the schedule: 0, 0.1 and 0.25.
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
        DivergenceError: If the loss runs away. The model has the weights of the last
            good epoch then.
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
    round_ = Round(
        epochs, learning_rate=learning_rate, schedule=schedule, warmup=warmup
    )
    check_round(round_)
    settings = FeedSettings(
        batch_size, as_augmentation(augmentation), cache, seed, verbose, sampling
    )
    check_run(model, train, settings, precision, class_weight)
    if model.compiled and model.stale:
        compile_settings(model)  # may refuse, which it must before the slow work
    inputs = watched_inputs(model, train, validation, on_error)
    course = _course(
        model,
        inputs,
        settings,
        [round_],
        class_weight,
        precision=precision,
        callbacks=callbacks,
    )
    course.run()
    return course.history


def fine_tune(  # noqa: PLR0913 - the public contract
    model: Classifier,
    train: Data,
    validation: Data | None = None,
    *,
    from_stage: TrainableStage | Sequence[TrainableStage] = "conv5",
    epochs: int | Sequence[int] = 5,
    batch_size: int = 32,
    learning_rate: float | Sequence[float] = 1e-4,
    schedule: Schedule = "constant",
    warmup: float | None = None,
    layer_decay: float = 1.0,
    keep: Keep = "best",
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

    Several stages are unfrozen one after another, each with its own epochs, a new
    optimizer and the schedule from its beginning: `from_stage=("conv5", "conv4"),
    epochs=(3, 3)`. If validation accuracy falls in the first epoch of a stage below the
    95 % interval of what it was before, the epoch is undone, and the stage is trained at
    half the rate; the log tells.

    Args:
        model: A `Classifier`. It is changed, and stays unfrozen afterwards.
        train: As in `fit`.
        validation: As in `fit`.
        from_stage: First stage to train, `"conv1"` (everything) to `"conv5"`, or several
            in the order in which they are unfrozen.
        epochs: Number of passes over `train`, or one for each stage.
        batch_size: Images in a batch.
        learning_rate: The optimizer's rate, or one for each stage.
        schedule: As in `fit`, anew for each stage.
        warmup: As in `fit`.
        layer_decay: Factor of the rate from the head to `"conv5"`, from there to
            `"conv4"` and so on, in (0, 1]: early stages, which hardly differ from task
            to task, move less (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146).
        keep: `"best"` gives the model the weights of the epoch with the best validation
            accuracy in the end, or those that it had before if none was better, which
            the log tells; `"last"`, those of the last epoch, which is also what happens
            without validation data.
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
        Keras's `History`, one for all stages.

    Raises:
        CacheError: If the cache folder cannot be written or the disk is full.
        DataError: If the data does not fit the model, or a photo cannot be read.
        DivergenceError: If the loss runs away. The model has the weights of the last
            good epoch then.
        ValueError: If an argument is out of range.

    Example:

    >>> train, validation = kr.ImageData.from_folder("flower_photos").split(0.2)
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> history = kr.fit(model, train, epochs=1, verbose=0)
    >>> history = kr.fine_tune(model, train, validation, epochs=1, verbose=0)
    """
    check_classifier(model)
    rounds = _rounds(
        from_stage,
        epochs,
        learning_rate,
        schedule=schedule,
        warmup=warmup,
        layer_decay=layer_decay,
    )
    if keep not in ("best", "last"):
        raise unknown("keep", keep, ("best", "last"))
    settings = FeedSettings(
        batch_size, as_augmentation(augmentation), cache, seed, verbose, sampling
    )
    check_run(model, train, settings, precision, class_weight)
    if model.compiled:
        compile_settings(model)  # may refuse, which it must before the slow work
    inputs = watched_inputs(model, train, validation, on_error)
    keeps_best = keep == "best" and validation is not None
    course = _course(
        model,
        inputs,
        settings,
        rounds,
        class_weight,
        precision=precision,
        callbacks=callbacks,
        best=Best(trained_in(model, rounds)) if keeps_best else None,
    )
    course.run()
    return course.history


def _course(
    model: Classifier,
    inputs: Inputs,
    settings: FeedSettings,
    rounds: Sequence[Round],
    class_weight: ClassWeight | None,
    **options: Any,
) -> Course:
    weights = class_weights(class_weight, class_counts(inputs, class_weight))
    return Course(model, inputs, settings, rounds, class_weight=weights, **options)


def _rounds(
    from_stage: Any, epochs: Any, learning_rate: Any, **settings: Any
) -> list[Round]:
    stages = [from_stage] if isinstance(from_stage, str) else list(from_stage)
    columns = [
        list(given) if isinstance(given, Sequence) else [given] * len(stages)
        for given in (epochs, learning_rate)
    ]
    if not stages or any(len(column) != len(stages) for column in columns):
        raise ValueError(
            "Expected as many epochs and rates as stages, or one for all, received "
            f"from_stage={from_stage!r}, epochs={epochs!r}, "
            f"learning_rate={learning_rate!r}."
        )
    found = [
        Round(count, stage, rate, **settings)
        for stage, count, rate in zip(stages, *columns, strict=True)
    ]
    for round_ in found:
        check_round(round_)
    check_order(stages)
    return found


def check_run(
    model: Classifier,
    train: Data,
    settings: FeedSettings,
    precision: Precision,
    class_weight: ClassWeight | None,
) -> None:
    """Raises a `ValueError` unless a run can be made of these; each as in `fit`."""
    check_precision(precision)
    settings.check(train)
    check_balance(class_weight, settings.sampling)
    _check_labels(model, settings.augmentation)


def _check_labels(model: Classifier, augmentation: Augmentation | None) -> None:
    if not model.compiled or not mixes(augmentation):
        return
    found = takers_of_integers(model)
    if found:
        raise ValueError(
            "mixup and cutmix make float rows of the labels, but the model was compiled "
            f"with {listing(found)}, which takes integers. Call "
            "compile_classifier(model), whose loss takes labels of either form."
        )
