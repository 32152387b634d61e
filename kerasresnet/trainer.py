"""`train`: the whole job, each of its choices explained."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import keras

from kerasresnet.balance import ClassWeight, Sampling, check_balance, class_weights
from kerasresnet.caching import Cache
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.datasets import is_dataset
from kerasresnet.division import OnError, readable
from kerasresnet.durations import format_duration, parse_duration
from kerasresnet.errors import DataError, listing
from kerasresnet.evaluation import Report, evaluate
from kerasresnet.extraction import Verbosity
from kerasresnet.images import ImageData
from kerasresnet.inputs import Data, Inputs, as_image_data
from kerasresnet.jobs import Job, own_smoothing
from kerasresnet.precision import Precision, check_precision
from kerasresnet.probing import Probe
from kerasresnet.recipes import Recipe
from kerasresnet.resuming import begin, finish, folder_of, recipe_of, unfinished
from kerasresnet.sentinels import watched_inputs
from kerasresnet.trackers import TrackerName, check_tracker, tracking

RecipeChoice: TypeAlias = Literal["auto"] | Recipe

# Held out for validation where there is no validation data.
_HELD_OUT = 0.2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What `train` did. `print(outcome)` shows it.

    Args:
        recipe: What was chosen, and why.
        probe: How the linear probe came out, or None.
        history: Keras's `History` of fine-tuning, one for all stages.
        report: The model's scores on the validation images. The best epoch was chosen
            on them, so that they flatter a little.
        seconds: How long it took.
    """

    recipe: Recipe
    probe: Probe | None
    history: keras.callbacks.History
    report: Report
    seconds: float

    def __str__(self) -> str:
        lines = [] if self.probe is None else [str(self.probe), ""]
        return "\n".join(
            [*lines, str(self.report), f"\ntime: {format_duration(self.seconds)}"]
        )


def train(  # noqa: PLR0913 - the public contract
    model: Classifier,
    train: Data,
    validation: Data | None = None,
    *,
    recipe: RecipeChoice = "auto",
    time_budget: float | str | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    class_weight: ClassWeight | None = None,
    sampling: Sampling | None = None,
    cache: Cache = "auto",
    precision: Precision = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    track: TrackerName | None = None,
    on_error: OnError = "raise",
    seed: int = 0,
    verbose: Verbosity = "auto",
    **overrides: Any,
) -> Outcome:
    """Trains a classifier as well as an expert would, and says what it does and why.

    First the exact linear head is solved (`probe`), then, where there are images enough,
    the network is fine-tuned stage by stage (`fine_tune`); the weights of the best epoch
    are kept, the probe's if fine-tuning does not improve on them. Rates, epochs, batch
    size and random views follow from the number of images and classes, the image size
    and the measured speed of this machine, by published rules; each choice is printed
    with its reason and source before anything starts, and the time that it will take.

    With `run_dir` the run survives: killed at any moment, `resume=True` goes on, and ends
    with the weights and the history of a run that was not killed (bit for bit on a CPU).
    The state is written at the end of each epoch, and every minute within one.

    Args:
        model: A `Classifier`. It is changed. If it is compiled it keeps its optimizer's
            kind, its loss and its metrics.
        train: `ImageData`, or a pair `(images, labels)` of arrays.
        validation: The same. Defaults to a fifth of `train`, split off by content.
        recipe: `"auto"`, or a `Recipe` from an earlier run, which is followed as it is.
        time_budget: Seconds, or a text such as `"10min"`: the recipe shrinks until it
            fits, and no epoch is begun that would not end in time.
        run_dir: Folder for the state, the record and the trained model: empty, or not
            there yet. Defaults to none.
        resume: Whether to go on with the run in `run_dir`, as it was begun: what is given
            again must be the same, what is left out is as it was.
        class_weight: As in `fit`.
        sampling: As in `fit`.
        cache: As in `fit`.
        precision: As in `fit`.
        callbacks: Keras callbacks, for the epochs of fine-tuning. Their own state is not
            written: it begins anew if the run goes on.
        track: Where the run is followed: `"wandb"`, `"tensorboard"` or `"mlflow"`, set up
            as `tracking` does it, with recipe and data, and at the end the scores and up
            to 100 validation photos. A run that goes on does so there, too. What the
            tracker fails at is a warning. Defaults to nowhere.
        on_error: As in `fit`.
        seed: Decides order and views of the training images.
        verbose: As in Keras; 0 prints nothing.
        **overrides: Choices of yours instead of the rules': `images`, `probe`, `stages`,
            `epochs`, `learning_rates`, `layer_decay`, `batch_size`, `schedule`, `warmup`,
            `augmentation`, `views`, `label_smoothing`; see `Recipe`. A compiled model
            keeps its loss, and takes no `label_smoothing`.

    Returns:
        An `Outcome`: recipe, history, report.

    Raises:
        ArtifactError: If there is no run to resume, it was begun with something else, or
            its state cannot be written.
        DataError: If the data does not fit the model, or a photo cannot be read.
        DivergenceError: If the loss runs away.
        ImportError: If the tracker is not installed.
        ValueError: If an argument is out of range, or the time budget too short.

    Example:

    >>> photos = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> outcome = kr.train(model, photos, epochs=1, stages=("conv5",), verbose=0)
    >>> outcome.recipe.stages, len(outcome.history.epoch)
    (('conv5',), 1)
    """
    begun = time.monotonic()
    check_classifier(model)
    check_precision(precision)
    check_balance(class_weight, sampling)
    check_tracker(track)
    _check_recipe(recipe, overrides, time_budget)
    _check_loss(model, recipe, overrides)
    budget = None if time_budget is None else parse_duration(time_budget)
    inputs = _inputs(model, train, validation, on_error, seed)
    class_weights(class_weight, inputs.train.counts())  # may refuse, before the work
    job = Job(model, inputs, class_weight, sampling, cache, precision, seed, verbose)
    folder = folder_of(run_dir, resume=resume)
    if resume and folder is not None:
        manifest = unfinished(folder, job.record, recipe, budget, overrides)
        chosen, budget = recipe_of(manifest["recipe"]), manifest["time_budget"]
    else:
        chosen = recipe if isinstance(recipe, Recipe) else job.choose(budget, overrides)
    job.say(str(chosen))
    if folder is not None and not resume:
        begin(folder, job.record, chosen, budget, overrides)
    # To fingerprint the data takes time, and is for the tracker alone.
    settings = None if track is None else job.settings(chosen)
    with tracking(track, folder, settings) as tracker:
        watchers = [*callbacks, *tracker.callbacks]
        found, course = job.follow(chosen, folder, watchers, budget, begun)
        report = evaluate(model, inputs.validation, batch_size=chosen.batch_size)
        taken = time.monotonic() - begun
        outcome = Outcome(chosen, found, course.history, report, taken)
        if folder is not None:
            ended = {"stopped": course.stopped, "undone": course.undone}
            finish(folder, model, {**_result(outcome), **ended})
        tracker.finish(model, report, inputs.validation)
    return outcome


def _result(outcome: Outcome) -> dict[str, Any]:
    """What the manifest tells of a finished run."""
    return {
        "accuracy": outcome.report.accuracy,
        "interval": outcome.report.accuracy_interval,
        "history": outcome.history.history,
        "seconds": outcome.seconds,
    }


def _check_recipe(recipe: Any, overrides: Mapping[str, Any], budget: Any) -> None:
    if recipe != "auto" and not isinstance(recipe, Recipe):
        raise ValueError(
            "recipe must be 'auto' or a Recipe, such as that of an Outcome, received "
            f"{recipe!r}."
        )
    given = [*overrides] if budget is None else [*overrides, "time_budget"]
    if isinstance(recipe, Recipe) and given:
        raise ValueError(
            f"A Recipe is followed as it is, but {listing(given)} would change it. Pass "
            "recipe='auto' with them, or change it with dataclasses.replace."
        )
    views = overrides.get("views")
    if overrides.get("augmentation") == "none" and views not in (1, None):
        raise ValueError(
            f"views={views} is a number of random views, but with augmentation='none' "
            "there is one. Pass another augmentation, such as 'light'."
        )


def _check_loss(model: Classifier, recipe: Any, overrides: Mapping[str, Any]) -> None:
    """Refuses label smoothing for a model that keeps its own loss."""
    if not model.compiled:
        return
    own = own_smoothing(model)
    asked = overrides.get("label_smoothing", own)
    if isinstance(recipe, Recipe):
        asked = recipe.label_smoothing
    if asked != own:
        raise ValueError(
            f"The model is compiled and keeps its own loss, with label_smoothing={own:g}, "
            f"received label_smoothing={asked}. Pass it to compile_classifier, or train a "
            "model that is not compiled."
        )


def _inputs(
    model: Classifier,
    train: Data,
    validation: Data | None,
    on_error: OnError,
    seed: int,
) -> Inputs:
    for data in (train, validation):
        if is_dataset(data):
            raise DataError(
                "train chooses by the number of images, and must know them again: "
                "expected ImageData or a pair (images, labels), received a "
                "tf.data.Dataset. fit and fine_tune take one."
            )
    if validation is None:
        if isinstance(train, tuple | list) and len(train) == 2:
            names = model.class_names if model.named else None
            train = ImageData.from_arrays(*train, class_names=names)
        if not isinstance(train, ImageData):
            train = as_image_data(train, model.class_names, named=False)
        whole = readable(train, on_error)
        train, validation = whole.split(_HELD_OUT, seed=seed)
        _log.info("%d of %d images are held out.", len(validation), len(whole))
    return watched_inputs(model, train, validation, on_error)
