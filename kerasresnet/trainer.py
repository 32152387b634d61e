"""`train`: the whole job, each of its choices explained, and a run that survives anything."""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import keras

from kerasresnet.augmentation import Augmentation, as_augmentation
from kerasresnet.backbones import TrainableStage
from kerasresnet.balance import ClassWeight, Sampling, check_balance, class_weights
from kerasresnet.caching import Cache
from kerasresnet.checkpoints import Checkpoints
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.compiling import compile_classifier
from kerasresnet.datasets import is_dataset
from kerasresnet.disk import remove
from kerasresnet.division import OnError, readable
from kerasresnet.durations import format_duration, parse_duration
from kerasresnet.errors import ArtifactError, DataError, count_of, unknown
from kerasresnet.evaluation import Report, evaluate
from kerasresnet.extraction import Verbosity
from kerasresnet.feeding import FeedSettings
from kerasresnet.images import ImageData
from kerasresnet.inputs import Data, Inputs, as_image_data, take_names
from kerasresnet.keeping import Best
from kerasresnet.manifests import (
    check_same,
    data_digest,
    empty_folder,
    read_manifest,
    versions,
    write_manifest,
)
from kerasresnet.measuring import measure
from kerasresnet.precision import Precision, check_precision, resolve_precision
from kerasresnet.preparing import Round, trained_in
from kerasresnet.probing import Probe, probe
from kerasresnet.recipes import Recipe, choose_recipe
from kerasresnet.recording import State
from kerasresnet.rounds import Course
from kerasresnet.rules import Decision
from kerasresnet.sentinels import watched_inputs
from kerasresnet.twins import trunk_digest

RecipeChoice: TypeAlias = Literal["auto"] | Recipe

# Held out for validation where there is no validation data.
_HELD_OUT = 0.2
# A head with hidden units has no exact solution: it is trained for so long, at this rate.
HEAD_EPOCHS, _HEAD_RATE = 10, 1e-3

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
        resume: Whether to go on with the run in `run_dir`.
        class_weight: As in `fit`.
        sampling: As in `fit`.
        cache: As in `fit`.
        precision: As in `fit`.
        callbacks: Keras callbacks, for the epochs of fine-tuning. Their own state is not
            written: it begins anew if the run goes on.
        on_error: As in `fit`.
        seed: Decides order and views of the training images.
        verbose: As in Keras; 0 prints nothing.
        **overrides: Choices of yours instead of the rules': `images`, `probe`, `stages`,
            `epochs`, `learning_rates`, `layer_decay`, `batch_size`, `schedule`, `warmup`,
            `augmentation`, `views`, `label_smoothing`; see `Recipe`.

    Returns:
        An `Outcome`: recipe, history, report.

    Raises:
        ArtifactError: If there is no run to resume, it was begun with something else, or
            its state cannot be written.
        DataError: If the data does not fit the model, or a photo cannot be read.
        DivergenceError: If the loss runs away.
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
    _check_recipe(recipe, overrides, time_budget)
    budget = None if time_budget is None else parse_duration(time_budget)
    inputs = _inputs(model, train, validation, on_error, seed)
    job = _Job(model, inputs, class_weight, sampling, cache, precision, seed, verbose)
    folder = _folder(run_dir, resume=resume)
    if resume and folder is not None:
        manifest = _unfinished(folder, job.record())
        chosen, budget = recipe_of(manifest["recipe"]), manifest["time_budget"]
    else:
        chosen = recipe if isinstance(recipe, Recipe) else job.choose(budget, overrides)
    job.say(str(chosen))
    if folder is not None and not resume:
        _begin(folder, job.record(), chosen, budget)
    found, course = job.follow(chosen, folder, callbacks, budget, begun)
    report = evaluate(model, inputs.validation, batch_size=chosen.batch_size)
    outcome = Outcome(chosen, found, course.history, report, time.monotonic() - begun)
    if folder is not None:
        _finish(folder, model, outcome)
    return outcome


def recipe_of(record: Mapping[str, Any]) -> Recipe:
    """Returns the recipe that a manifest holds.

    Args:
        record: Its entry `"recipe"`.
    """
    values = _with_tuples(record)
    decisions = [Decision(**_with_tuples(each)) for each in record["decisions"]]
    return Recipe(**{**values, "decisions": tuple(decisions)})


def _with_tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON had tuples in before it made lists of them."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.items()
    }


@dataclass(frozen=True)
class _Job:
    """A model, its data, and how they are brought together."""

    model: Classifier
    inputs: Inputs
    class_weight: ClassWeight | None
    sampling: Sampling | None
    cache: Cache
    precision: Precision
    seed: int
    verbose: Verbosity

    def say(self, text: str) -> None:
        """Shows lines to a user who wants to see something."""
        if self.verbose != 0:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    @property
    def hidden(self) -> bool:
        """Whether the head has hidden units."""
        return bool(self.model.get_config()["hidden_units"])

    def record(self) -> dict[str, Any]:
        """What must be the same for the run to go on."""
        config = self.model.get_config()
        return {
            "class_names": self.inputs.class_names,
            "backbone": config["backbone"],
            "image_size": self.model.image_size,
            "head": [config["hidden_units"], config["dropout"], config["pooling"]],
            "weights": trunk_digest(self.model, "avg_pool"),
            "train": data_digest(self.inputs.train),
            "validation": data_digest(self.inputs.validation),
            "computed_in": resolve_precision(self.precision, self.model.compute_dtype),
            "class_weight": self.class_weight,
            "sampling": self.sampling,
            "seed": self.seed,
        }

    def choose(self, budget: float | None, overrides: Mapping[str, Any]) -> Recipe:
        """Measures, and lets the rules choose."""
        facts = measure(
            self.model, self.inputs.train, self.inputs.validation, self.precision
        )
        chosen = choose_recipe(facts, time_budget=budget, **overrides)
        return _without_probe(chosen) if self.hidden else chosen

    def follow(
        self,
        recipe: Recipe,
        folder: Path | None,
        callbacks: Sequence[keras.callbacks.Callback],
        budget: float | None,
        begun: float,
    ) -> tuple[Probe | None, Course]:
        """Does what a recipe says, from its beginning or from where it was cut off."""
        model, inputs = self.model, self.inputs
        images = inputs.train
        if recipe.images < len(images):
            images = images.take(recipe.images, seed=self.seed)
        inputs = Inputs(inputs.class_names, inputs.named, images, inputs.validation)
        kept = None if folder is None else Checkpoints(folder)
        state = None if kept is None else kept.read()
        found = None
        if recipe.probe:
            found = self._probe(inputs)
        take_names(model, inputs)
        rounds = self._rounds(recipe)
        if rounds and not model.compiled:
            compile_classifier(model, label_smoothing=recipe.label_smoothing)
        deadline = _Deadline(budget, begun, state)
        best = Best(trained_in(model, rounds))
        course = Course(
            model,
            inputs,
            self._feed(recipe),
            rounds,
            precision=self.precision,
            callbacks=[*callbacks, deadline],
            class_weight=class_weights(self.class_weight, images.counts()),
            best=best,
            record=None if kept is None else deadline.recording(kept.write),
        )
        deadline.course = course
        if state is None:
            course.save()
        else:
            course.resume(state)
            self.say(f"resume: after {count_of(course.history.done, 'epoch')}")
        course.run()
        best.restore()
        best.report()
        return found, course

    def _probe(self, inputs: Inputs) -> Probe:
        found = probe(
            self.model,
            inputs.train,
            inputs.validation,
            class_weight=self.class_weight,
            cache=self.cache,
            precision=self.precision,
            seed=self.seed,
            verbose=self.verbose,
        )
        self.say(str(found))
        return found

    def _rounds(self, recipe: Recipe) -> list[Round]:
        shape: dict[str, Any] = {"schedule": recipe.schedule, "warmup": recipe.warmup}
        head = [Round(HEAD_EPOCHS, None, _HEAD_RATE, **shape)] if self.hidden else []
        stages: Sequence[TrainableStage] = recipe.stages  # type: ignore[assignment]
        return head + [
            Round(count, stage, rate, layer_decay=recipe.layer_decay, **shape)
            for stage, count, rate in zip(
                stages, recipe.epochs, recipe.learning_rates, strict=True
            )
        ]

    def _feed(self, recipe: Recipe) -> FeedSettings:
        return FeedSettings(
            recipe.batch_size,
            _views(recipe),
            self.cache,
            self.seed,
            self.verbose,
            self.sampling,
        )


class _Deadline(keras.callbacks.Callback):
    """Begins no epoch that would end after the time budget."""

    def __init__(self, budget: float | None, begun: float, state: State | None) -> None:
        super().__init__()
        self._budget = budget
        # A run that goes on has had some of its time.
        self._begun = begun - (0.0 if state is None else state[1]["seconds"])
        self._epoch = begun
        self.course: Course | None = None

    def recording(self, write: Callable[..., None]) -> Callable[[State], None]:
        """Writes a state with the time that the run has had."""

        def record(state: State) -> None:
            arrays, notes = state
            write(arrays, {**notes, "seconds": time.monotonic() - self._begun})

        return record

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes when it begins."""
        del epoch, logs
        self._epoch = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops the run if another epoch would take too long."""
        del logs
        now = time.monotonic()
        if self._budget is None or self.course is None:
            return
        if now - self._begun + (now - self._epoch) > self._budget:
            self.course.stopped = self.model.stop_training = True
            _log.warning(
                "Stopped after epoch %d: another would go beyond the time budget of %s.",
                epoch + 1,
                format_duration(self._budget),
            )


def _check_recipe(recipe: Any, overrides: Mapping[str, Any], budget: Any) -> None:
    if recipe != "auto" and not isinstance(recipe, Recipe):
        raise unknown("recipe", recipe, ("auto",))
    if isinstance(recipe, Recipe) and (overrides or budget is not None):
        raise ValueError(
            "A Recipe is followed as it is: pass time_budget and overrides with "
            "recipe='auto', or change it with dataclasses.replace."
        )
    if overrides.get("augmentation") == "none" and overrides.get("views", 1) not in (1, None):  # fmt: skip
        raise ValueError(
            f"views={overrides['views']} is a number of random views, but with "
            "augmentation='none' there is one. Pass another augmentation, such as 'light'."
        )


def _without_probe(recipe: Recipe) -> Recipe:
    """The same for a head with hidden units, which has no exact solution."""
    why = (
        f"The head has hidden units and no exact solution: it is trained for {HEAD_EPOCHS} "
        f"epochs at {_HEAD_RATE:g}, which the predicted time leaves out."
    )
    decisions = [
        Decision("probe", False, why) if each.name == "probe" else each  # noqa: FBT003
        for each in recipe.decisions
    ]
    return replace(recipe, probe=False, decisions=tuple(decisions))


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
                "train chooses by the number of images, and must know them again: expected "
                "ImageData or a pair (images, labels), received a tf.data.Dataset. fit and "
                "fine_tune take one."
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


def _folder(run_dir: str | Path | None, *, resume: bool) -> Path | None:
    if run_dir is None:
        if resume:
            raise ValueError("resume=True needs run_dir, the folder of the run.")
        return None
    folder = Path(run_dir)
    if not resume:
        return empty_folder(folder)
    for left in folder.glob("*.partial"):  # by a kill while it was written
        remove(left)
    return folder


def _begin(
    folder: Path, record: Mapping[str, Any], recipe: Recipe, budget: float | None
) -> None:
    chosen = {"recipe": asdict(recipe), "time_budget": budget}
    state = {"versions": versions(), "finished": False}
    write_manifest(folder, {**record, **chosen, **state})


def _unfinished(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a run that can go on."""
    manifest = read_manifest(folder)
    if manifest["finished"]:
        raise ArtifactError(
            f"The run in {folder} is finished. kr.load({str(folder / 'model.keras')!r}) loads "
            "its model."
        )
    check_same(folder, manifest, record)
    return manifest


def _views(recipe: Recipe) -> Augmentation | None:
    if not isinstance(recipe.augmentation, str):
        return as_augmentation(recipe.augmentation)
    if recipe.augmentation == "none":
        return None
    return Augmentation.preset(recipe.augmentation, views=recipe.views)  # type: ignore[arg-type]


def _finish(folder: Path, model: Classifier, outcome: Outcome) -> None:
    aside = folder / "model.partial.keras"
    model.save(aside)
    aside.replace(folder / "model.keras")
    result = {
        "accuracy": outcome.report.accuracy,
        "interval": outcome.report.accuracy_interval,
        "history": outcome.history.history,
        "seconds": outcome.seconds,
    }
    write_manifest(
        folder, {**read_manifest(folder), "result": result, "finished": True}
    )
    Checkpoints(folder).clear()
