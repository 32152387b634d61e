"""One job of `train`: a model, its data, and a recipe that is followed."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras

from kerasresnet.augmentation import Augmentation, as_augmentation
from kerasresnet.backbones import TrainableStage
from kerasresnet.backends import backend
from kerasresnet.balance import ClassWeight, Sampling, class_weights
from kerasresnet.caching import Cache
from kerasresnet.checkpoints import Checkpoints
from kerasresnet.classifier import Classifier
from kerasresnet.compiling import compile_classifier
from kerasresnet.deadlines import Deadline
from kerasresnet.errors import count_of
from kerasresnet.extraction import Verbosity
from kerasresnet.feeding import FeedSettings
from kerasresnet.inputs import Inputs, take_names
from kerasresnet.keeping import Best
from kerasresnet.manifests import data_digest, versions
from kerasresnet.measuring import measure
from kerasresnet.precision import Precision, resolve_precision
from kerasresnet.preparing import Round, trained_in
from kerasresnet.probing import Probe, solve_head
from kerasresnet.recipes import Recipe, choose_recipe
from kerasresnet.recording import State
from kerasresnet.rounds import Course
from kerasresnet.rules import Decision
from kerasresnet.twins import trunk_digest

# A head with hidden units has no exact solution: it is trained so long, at this rate.
HEAD_EPOCHS, _HEAD_RATE = 10, 1e-3


@dataclass(frozen=True)
class Job:
    """A model, its data, and how they are brought together.

    Args:
        model: A `Classifier`.
        inputs: Checked data.
        class_weight: As in `fit`, like all below.
        sampling: As in `fit`.
        cache: As in `fit`.
        precision: As in `fit`.
        seed: As in `fit`.
        verbose: As in `fit`.
    """

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

    @cached_property
    def record(self) -> dict[str, Any]:
        """What must be the same for the run to go on; of the model as it is at first."""
        config = self.model.get_config()
        return {
            "class_names": self.inputs.class_names,
            "backbone": config["backbone"],
            "backend": backend(),
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

    def settings(self, recipe: Recipe) -> dict[str, Any]:
        """What a tracker is told of the run."""
        chosen = {each.name: each.value for each in recipe.decisions}
        counts = {
            "train": self.inputs.train.counts(),
            "validation": self.inputs.validation.counts(),
        }
        return {
            **self.record,
            "recipe": chosen,
            "images": counts,
            "versions": versions(),
        }

    def choose(self, budget: float | None, overrides: Mapping[str, Any]) -> Recipe:
        """Measures, and lets the rules choose."""
        facts = measure(
            self.model, self.inputs.train, self.inputs.validation, self.precision
        )
        chosen = choose_recipe(facts, time_budget=budget, **overrides)
        if self.model.compiled:
            chosen = _with_own_loss(chosen, self.model)
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
        kept = None if folder is None else Checkpoints(folder)
        state = None if kept is None else kept.read()
        inputs = self._taken(recipe)
        found = self._probe(inputs) if recipe.probe else None
        take_names(self.model, inputs)
        spent = 0.0 if state is None else state[1]["seconds"]
        deadline = Deadline(budget, begun, spent)
        record = None if kept is None else deadline.recording(kept.write)
        course = self._course(recipe, inputs, [*callbacks, deadline], record)
        deadline.course = course
        if state is None:
            course.save()
        else:
            course.resume(state)
            self.say(f"resume: after {count_of(course.history.done, 'epoch')}")
        course.run()
        return found, course

    def _taken(self, recipe: Recipe) -> Inputs:
        """The data, with as many training images as the recipe takes."""
        images = self.inputs.train
        if recipe.images >= len(images):
            return self.inputs
        return replace(self.inputs, train=images.take(recipe.images, seed=self.seed))

    def _course(
        self,
        recipe: Recipe,
        inputs: Inputs,
        callbacks: Sequence[keras.callbacks.Callback],
        record: Callable[[State], None] | None,
    ) -> Course:
        rounds = self._rounds(recipe)
        if rounds and not self.model.compiled:
            compile_classifier(self.model, label_smoothing=recipe.label_smoothing)
        return Course(
            self.model,
            inputs,
            self._feed(recipe),
            rounds,
            precision=self.precision,
            callbacks=callbacks,
            class_weight=class_weights(self.class_weight, inputs.train.counts()),
            best=Best(trained_in(self.model, rounds)),
            record=record,
        )

    def _probe(self, inputs: Inputs) -> Probe:
        found = solve_head(
            self.model,
            inputs,
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


def own_smoothing(model: Classifier) -> float:
    """Returns the label smoothing of a compiled model's loss; 0 for one without any."""
    return float(getattr(model.loss, "label_smoothing", 0.0))


def _with_own_loss(recipe: Recipe, model: Classifier) -> Recipe:
    """The same for a compiled model, whose loss is its own."""
    own = own_smoothing(model)
    why = "The model is compiled and keeps its own loss."
    decisions = [
        Decision(each.name, own, why) if each.name == "label_smoothing" else each
        for each in recipe.decisions
    ]
    return replace(recipe, label_smoothing=own, decisions=tuple(decisions))


def _without_probe(recipe: Recipe) -> Recipe:
    """The same for a head with hidden units, which has no exact solution."""
    why = (
        "The head has hidden units and no exact solution: it is trained for "
        f"{HEAD_EPOCHS} epochs at {_HEAD_RATE:g}, which the predicted time leaves out."
    )
    before = f"After {HEAD_EPOCHS} of the head alone. "
    decisions = []
    for each in recipe.decisions:
        if each.name == "probe":
            each = replace(each, value=False, reason=why)
        elif each.name == "epochs":
            each = replace(each, reason=before + each.reason)
        decisions.append(each)
    return replace(recipe, probe=False, decisions=tuple(decisions))


def _views(recipe: Recipe) -> Augmentation | None:
    if not isinstance(recipe.augmentation, str):
        return as_augmentation(recipe.augmentation)
    if recipe.augmentation == "none":
        return None
    preset: Any = recipe.augmentation
    return Augmentation.preset(preset, views=recipe.views)
