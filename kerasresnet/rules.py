"""Rules from the facts of a data set and a machine to each choice of a recipe.

Numbers in, numbers out: no photo, no model and no clock is known here. The caller measures
the `Facts`; `recipes` puts the choices together and makes them fit into a time. A rule
that nothing is cited for is a choice of this library.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, TypeAlias

from kerasresnet.durations import is_number
from kerasresnet.errors import listing, unknown

# Share of a pass through the frozen network that ends where training begins: ResNet50's
# multiplications and additions up to the stage before, at any image size.
TRUNK_SHARE = {
    "conv1": 0.0,
    "conv2": 0.03,
    "conv3": 0.20,
    "conv4": 0.45,
    "conv5": 0.81,
}
_TIMED = ("conv5", "conv4", "conv3")

# With fewer photos per class, held-out ones cannot tell whether fine-tuning helped.
ENOUGH_PER_CLASS = 20
_ENOUGH_FOR_CONV4 = 1_000
_ENOUGH_FOR_CONV3 = 10_000
_SMALL_SIDE = 96
_PHOTOS_SEEN = 16_000
_LEAST_EPOCHS, _MOST_EPOCHS = 6, 8
_CONV5_RATE = 1e-4
_MOST_VIEWS = 8

_ASKED = "As you asked."
UNUSED = "Not used: no stage is trained."

Known: TypeAlias = Mapping[str, Any]
Choice: TypeAlias = tuple[Any, str]


@dataclass(frozen=True)
class Facts:
    """What the rules are told about a data set and a machine.

    Args:
        images: Number of training images, at least 1.
        smallest_class: Number of those in the smallest class, at least 1.
        classes: Number of classes, at least 1.
        image_size: Length of the shorter side that the network sees, in pixels.
        trunk_seconds: Seconds in which one image goes through the whole frozen network,
            up to `"avg_pool"`.
        step_seconds: Seconds of training for an image in an epoch, on kept features, by
            the first stage that is trained: `"conv5"`, `"conv4"` and `"conv3"`, and
            others if they are to be asked for.
        overhead_seconds: Seconds for what happens once, such as building the model,
            reading weights and solving the probe.
        stage_overhead_seconds: Seconds for what happens once for each stage, such as
            tracing it.
        validation_images: Number of held-out images.

    Raises:
        ValueError: If a number is out of range, or the time of a stage is missing.
    """

    images: int
    smallest_class: int
    classes: int
    image_size: int
    trunk_seconds: float
    step_seconds: Mapping[str, float]
    overhead_seconds: float = 0.0
    stage_overhead_seconds: float = 0.0
    validation_images: int = 0

    def __post_init__(self) -> None:
        for name in ("images", "smallest_class", "classes", "image_size"):
            _check_whole(name, getattr(self, name))
        _check_whole("validation_images", self.validation_images, 0)
        if self.smallest_class * self.classes > self.images:
            raise ValueError(
                f"{self.classes:,} classes of at least smallest_class={self.smallest_class:,} "
                f"are more than images={self.images:,}."
            )
        for stage in self.step_seconds:
            if stage not in TRUNK_SHARE:
                raise unknown("stage", stage, TRUNK_SHARE)
        if missing := [stage for stage in _TIMED if stage not in self.step_seconds]:
            raise ValueError(f"step_seconds has no time for {listing(missing)}.")
        for name in ("trunk", "overhead", "stage_overhead"):
            _check_seconds(f"{name}_seconds", getattr(self, f"{name}_seconds"))
        for stage, value in self.step_seconds.items():
            _check_seconds(f"step_seconds[{stage!r}]", value)


@dataclass(frozen=True)
class Decision:
    """One choice of a recipe.

    Args:
        name: Name of the field of `Recipe`, and of the keyword that overrides it.
        value: What was chosen.
        reason: Why, in a sentence, with its source where it follows one.
    """

    name: str
    value: Any
    reason: str


def _images(facts: Facts, known: Known) -> Choice:
    return facts.images, "All that there are for training."


def _probe(facts: Facts, known: Known) -> Choice:
    return True, (
        "The exact head takes seconds and is what fine-tuning has to beat; starting from it "
        "keeps good features from being distorted (Kumar et al. 2022, "
        "https://arxiv.org/abs/2202.10054)."
    )


def _stages(facts: Facts, known: Known) -> Choice:
    asked = {"epochs", "learning_rates"} & known.keys()
    per_class = facts.images // facts.classes
    if per_class < ENOUGH_PER_CLASS and known["probe"] and not asked:
        return (), (
            f"{per_class} photos per class are fewer than {ENOUGH_PER_CLASS}: held-out ones "
            "could not tell whether fine-tuning helped, and the head alone is trained."
        )
    stages = ["conv5"]
    if facts.images >= _ENOUGH_FOR_CONV4 and facts.smallest_class >= ENOUGH_PER_CLASS:
        stages.append("conv4")
        if facts.images >= _ENOUGH_FOR_CONV3 or facts.image_size < _SMALL_SIDE:
            stages.append("conv3")
    return tuple(stages), (
        "Fine-tuned networks are mostly better than fixed features (Kornblith et al. 2019, "
        "https://arxiv.org/abs/1805.08974), and later stages are more specific to what they "
        "were trained on (Yosinski et al. 2014, https://arxiv.org/abs/1411.1792): conv5 first, "
        f"conv4 from {_ENOUGH_FOR_CONV4:,} photos with {ENOUGH_PER_CLASS} in every class, then "
        f"conv3 from {_ENOUGH_FOR_CONV3:,} or below {_SMALL_SIDE} px."
    )


def _epochs(facts: Facts, known: Known) -> Choice:
    wanted = math.ceil(_PHOTOS_SEEN / facts.images)
    total = min(max(wanted, _LEAST_EPOCHS), _MOST_EPOCHS)
    stages = max(len(known["stages"]), 1)
    each = tuple(
        total // stages + (i < total % stages) for i in range(len(known["stages"]))
    )
    return each, (
        f"{_PHOTOS_SEEN:,} photos are seen in all, about what BiT-HyperRule takes for small sets "
        "(Kolesnikov et al. 2020, https://arxiv.org/abs/1912.11370), but in "
        f"{_LEAST_EPOCHS} to {_MOST_EPOCHS} epochs: by then few photos are known by heart."
    )


def _layer_decay(facts: Facts, known: Known) -> Choice:
    if set(known["stages"]) <= {"conv5"}:
        return 1.0, "One stage is trained, at the rate of the head."
    return 0.5, (
        "Each stage learns at half the rate of the next, as early stages differ least from "
        "task to task (discriminative rates, Howard and Ruder 2018, "
        "https://arxiv.org/abs/1801.06146)."
    )


def _learning_rates(facts: Facts, known: Known) -> Choice:
    # The head's rate: conv5's is lower by the decay.
    first = _CONV5_RATE / known["layer_decay"]
    rates = tuple(first / 2 ** (5 - int(stage[-1])) for stage in known["stages"])
    return rates, (
        f"Of the head, so that conv5 begins at {_CONV5_RATE:g}, and half as much for each "
        "earlier stage: pretrained layers ask for a low rate (Chollet, "
        "https://keras.io/guides/transfer_learning)."
    )


def usual_batch_size(images: int) -> int:
    """Returns the number of images in a batch, for a number of training images."""
    return 16 if images < 500 else 32


def _batch_size(facts: Facts, known: Known) -> Choice:
    return usual_batch_size(facts.images), (
        "16 below 500 photos, so that an epoch has enough steps, else 32; small batches "
        "generalise well (Masters and Luschi 2018, https://arxiv.org/abs/1804.07612)."
    )


def _schedule(facts: Facts, known: Known) -> Choice:
    return "cosine", (
        "Falls smoothly to 0 and leaves nothing to choose (Loshchilov and Hutter 2017, "
        "https://arxiv.org/abs/1608.03983)."
    )


def _warmup(facts: Facts, known: Known) -> Choice:
    if known["schedule"] == "one_cycle":
        return (
            0.25,
            "As in fastai's one cycle (https://docs.fast.ai/callback.schedule).",
        )
    return 0.1, (
        "A fresh optimizer begins low (Goyal et al. 2017, https://arxiv.org/abs/1706.02677)."
    )


def _augmentation(facts: Facts, known: Known) -> Choice:
    if known.get("views", 0) == 1 or not known["stages"]:
        return "none", "The single view of each photo is the photo itself."
    if max(known["epochs"]) < 2 and "views" not in known:
        return "none", "In a single epoch each photo is seen once, best as it is."
    return "light", (
        "Small changes, and no mixing, which has no features that could be kept, and which "
        "BiT-HyperRule leaves out below 20,000 photos (Kolesnikov et al. 2020, "
        "https://arxiv.org/abs/1912.11370)."
    )


def _views(facts: Facts, known: Known) -> Choice:
    if known["augmentation"] in ("none", None):
        return 1, "Without augmentation a photo has one view, itself."
    most = max(known["epochs"], default=0)
    return min(_MOST_VIEWS, max(most, 2)), (
        f"Their features are computed once; at most {_MOST_VIEWS}, and no more than epochs in "
        "a stage, each of which draws one."
    )


def _label_smoothing(facts: Facts, known: Known) -> Choice:
    return 0.1, (
        "Against over-confidence (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, "
        "section 7)."
    )


# In the order of Recipe's fields. A rule may ask for what was decided before it, and for
# any override.
_RULES: Mapping[str, Callable[[Facts, Known], Choice]] = {
    "images": _images,
    "probe": _probe,
    "stages": _stages,
    "epochs": _epochs,
    "layer_decay": _layer_decay,
    "learning_rates": _learning_rates,
    "batch_size": _batch_size,
    "schedule": _schedule,
    "warmup": _warmup,
    "augmentation": _augmentation,
    "views": _views,
    "label_smoothing": _label_smoothing,
}
ALWAYS_USED = ("images", "probe", "stages")


def decide(facts: Facts, given: Known) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and reasons by name: what is given, and what the rules say of the rest."""
    known, reasons = dict(given), {}
    for name, rule in _RULES.items():
        if name in given:
            known[name], reasons[name] = _checked(facts, known, name), _ASKED
        else:
            known[name], reasons[name] = rule(facts, known)
            if name not in ALWAYS_USED and not known["stages"]:
                reasons[name] = UNUSED
    return {name: known[name] for name in _RULES}, reasons


def check_order(stages: Sequence[str]) -> None:
    """Raises a `ValueError` unless each stage lies before the one that precedes it.

    Args:
        stages: Names of stages, in the order in which they are unfrozen.
    """
    if list(stages) != sorted(set(stages), reverse=True):
        raise ValueError(
            f"Stages are unfrozen from the last to the first, each once: received "
            f"{listing(stages)}, expected such as conv5, conv4."
        )


def check_overrides(overrides: Known) -> None:
    """Raises ValueError for what no rule decides, or for a value that cannot be."""
    for name in overrides:
        if name not in _RULES:
            raise unknown("part of a recipe", name, _RULES)
    if not isinstance(overrides.get("probe", True), bool):
        raise ValueError(
            f"probe must be True or False, received {overrides['probe']!r}."
        )
    decay = overrides.get("layer_decay", 1)
    if not is_number(decay) or not 0 < decay <= 1:
        raise ValueError(
            f"layer_decay must be above 0 and at most 1, received {decay!r}."
        )
    if overrides.get("views") is not None:
        _check_whole("views", overrides["views"])


def with_images(facts: Facts, overrides: Known) -> Facts:
    """The facts of as many images as are asked for."""
    if "images" not in overrides:
        return facts
    images = overrides["images"]
    _check_whole("images", images, facts.classes)
    if images > facts.images:
        raise ValueError(
            f"images must be at most the {facts.images:,} there are, received {images:,}."
        )
    smallest = max(facts.smallest_class * images // facts.images, 1)
    return replace(facts, images=images, smallest_class=smallest)


def _checked(facts: Facts, known: Known, name: str) -> Any:
    """The value of an override, those of stages as tuples."""
    value = known[name]
    if name == "stages":
        return _checked_stages(facts, value)
    if name not in ("epochs", "learning_rates"):
        return value
    stages = known["stages"]
    each = tuple(value) if isinstance(value, Sequence) else (value,) * len(stages)
    if len(each) != len(stages):
        raise ValueError(
            f"Expected one value of {name} for each of stages={stages!r}, received {value!r}."
        )
    if name == "epochs":
        for epochs in each:
            _check_whole("epochs", epochs)
    return each


def _checked_stages(facts: Facts, value: Any) -> tuple[str, ...]:
    stages = (value,) if isinstance(value, str) else tuple(value)
    for stage in stages:
        if stage not in TRUNK_SHARE:
            raise unknown("stage", stage, TRUNK_SHARE)
        if stage not in facts.step_seconds:
            raise ValueError(f"step_seconds has no time for {stage}.")
    check_order(stages)
    return stages


def _check_seconds(name: str, value: Any) -> None:
    if not is_number(value) or value < 0:
        raise ValueError(f"{name} must be at least 0 seconds, received {value!r}.")


def _check_whole(name: str, value: Any, least: int = 1) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(
            f"{name} must be a whole number of at least {least}, received {value!r}."
        )
