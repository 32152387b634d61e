"""From a data set to a recipe, each choice with its reason, within a time budget.

Numbers in, numbers out: no photo, no model and no clock is known here. The caller measures
the `Facts` and follows the `Recipe`. The choices themselves are in `rules`.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasresnet.durations import format_duration, parse_duration
from kerasresnet.errors import count_of
from kerasresnet.rules import (
    ALWAYS_USED,
    ENOUGH_PER_CLASS,
    TRUNK_SHARE,
    UNUSED,
    Decision,
    Facts,
    Known,
    check_overrides,
    decide,
    with_images,
)

# Of a time budget so much is planned for: predictions err, and machines are shared.
_PLANNED = 0.9


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained on a data set. `print` shows it with its reasons.

    Args:
        images: Number of training images; fewer than there are if time does not allow
            all of them.
        probe: Whether the exact linear head is computed first, on the images as they are.
        stages: First stages to train, in the order in which they are unfrozen.
        epochs: Number of passes over the images, for each stage.
        layer_decay: Factor of the rate from each stage to the one before it.
        learning_rates: The head's peak rate for Adam, for each stage.
        batch_size: Images in a batch.
        schedule: How the rate changes in a stage.
        warmup: Share of a stage's steps in which the rate rises at first.
        augmentation: Name of a preset, or what was asked for.
        views: Number of views of each image, whose features are computed once; None for
            new ones in each epoch.
        label_smoothing: Share of the label that is spread over all classes.
        seconds: Predicted time of everything.
        decisions: One for each of the fields above, in their order.
    """

    images: int
    probe: bool
    stages: tuple[str, ...]
    epochs: tuple[int, ...]
    layer_decay: float
    learning_rates: tuple[float, ...]
    batch_size: int
    schedule: str
    warmup: float
    augmentation: Any
    views: int | None
    label_smoothing: float
    seconds: float
    decisions: tuple[Decision, ...]

    def __str__(self) -> str:
        rows = [(d.name, _text(d.name, d.value), d.reason) for d in self.decisions]
        first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
        indent = " " * (first + second + 4)
        lines = [f"Recipe, predicted to take {format_duration(self.seconds)}:"]
        for name, value, reason in rows:
            head = f"{name:<{first}}  {value:<{second}}  "
            lines += textwrap.wrap(
                head + reason,
                100,
                subsequent_indent=indent,
                drop_whitespace=True,
                break_long_words=False,
                break_on_hyphens=False,
            )
        return "\n".join(lines)


def choose_recipe(
    facts: Facts, *, time_budget: float | str | None = None, **overrides: Any
) -> Recipe:
    """Returns the recipe that the rules give for a data set.

    The probe comes first, always. Where there are at least 20 images per class on
    average, the network is then fine-tuned from `conv5` on; from 1,000 images, with at
    least 20 in every class, from `conv4` too; and from `conv3` too where there are 10,000
    or the images are smaller than 96 px. The number of epochs falls from 8 to 6 as the
    number of images grows.

    With a time budget, the recipe shrinks until 90 % of it suffice: first fewer views,
    then fewer stages, the earliest dropped first, then fewer epochs, then the probe
    alone, then fewer images, but at least 20 per class. What is left over goes to views
    again. The reasons say what was cut.

    Args:
        facts: The data set and the machine.
        time_budget: Seconds, or a duration such as `"10min"`. Defaults to no limit.
        **overrides: Fields of `Recipe` that are kept as they are given and never cut.
            `stages`, `epochs` and `learning_rates` may be one value for all stages.
            Values that decide nothing here are checked by what uses them.

    Returns:
        A `Recipe`.

    Raises:
        ValueError: If an override is unknown or out of range, nothing would be trained,
            or the time budget is too short; the message says what would do.

    Example:

    >>> from kerasresnet.recipes import choose_recipe
    >>> from kerasresnet.rules import Facts
    >>> facts = Facts(
    ...     images=400,
    ...     smallest_class=70,
    ...     classes=5,
    ...     image_size=224,
    ...     trunk_seconds=1 / 90,
    ...     step_seconds={"conv5": 1 / 85, "conv4": 1 / 45, "conv3": 1 / 37},
    ... )
    >>> recipe = choose_recipe(facts, time_budget="1min")
    >>> recipe.stages, recipe.epochs, recipe.views
    (('conv5',), (8,), 3)
    >>> choose_recipe(facts, epochs=3).epochs
    (3,)
    """
    check_overrides(overrides)
    facts = with_images(facts, overrides)
    known, reasons = decide(facts, overrides)
    if not known["probe"] and not known["stages"]:
        raise ValueError("Nothing would be trained: probe=False and stages=().")
    if time_budget is not None:
        known, reasons = _shrunk(facts, overrides, parse_duration(time_budget))
    parts = _costs(facts, known)
    seconds = sum(parts.values())
    reasons["seconds"] = f"Predicted: {_listed(parts)}."
    values = {**known, "seconds": seconds}
    decisions = tuple(Decision(n, values[n], why) for n, why in reasons.items())
    return Recipe(**values, decisions=decisions)


# time -----------------------------------------------------------------------------------


def _costs(facts: Facts, known: Known) -> dict[str, float]:
    """Predicted seconds of each part."""
    images, held_out = known["images"], facts.validation_images
    parts = {"overhead": facts.overhead_seconds}
    if known["probe"]:
        parts["probe"] = (images + held_out) * facts.trunk_seconds
    for stage, epochs in zip(known["stages"], known["epochs"], strict=True):
        views = epochs if known["views"] is None else known["views"]
        passes = TRUNK_SHARE[stage] * (images * views + held_out)
        # A pass without its gradients, which take twice as long, is a third of a step;
        # held-out images are scored after each epoch, and once before.
        steps = images * epochs + held_out * (epochs + 1) / 3
        parts[stage] = (
            parts.get(stage, 0.0)
            + facts.stage_overhead_seconds
            + passes * facts.trunk_seconds
            + steps * facts.step_seconds[stage]
        )
    return parts


def _shrunk(
    facts: Facts, overrides: Known, budget: float
) -> tuple[dict[str, Any], dict[str, str]]:
    """What `decide` returns, within a time budget."""
    full, why = decide(facts, overrides)
    sizes = _fitting(facts, full, overrides, budget)
    known, reasons = decide(facts, {**overrides, **sizes})
    for name in sizes:
        if name in overrides or known[name] == full[name]:
            reasons[name] = why[name]
        elif not known["stages"] and name not in ALWAYS_USED:
            reasons[name] = UNUSED
        elif name == "epochs" and known[name] == full[name][: len(known[name])]:
            reasons[name] = "Those of the stages that are left."
        else:
            reasons[name] = _cut_reason(name, full[name], budget)
    return known, reasons


def _fitting(
    facts: Facts, known: Known, overrides: Known, budget: float
) -> dict[str, Any]:
    """The largest sizes that fit into a time budget."""

    def seconds(sizes: Known) -> float:
        return sum(_costs(facts, {**known, **sizes}).values())

    limit, sizes = _PLANNED * budget, _sizes(known)
    for sizes in _cuts(known, overrides):
        if seconds(sizes) <= limit:
            if "views" in overrides:
                return sizes
            # Larger sizes did not fit: what is left over goes to views again.
            most = min(known["views"], max(sizes["epochs"], default=0))
            more = range(sizes["views"], most + 1)
            fit = [n for n in more if seconds({**sizes, "views": n}) <= limit]
            return {**sizes, "views": max(fit, default=sizes["views"])}
    least = min(facts.images, ENOUGH_PER_CLASS * facts.classes)
    if "images" in overrides:
        least = facts.images
    few, all_ = ({**sizes, "images": n} for n in (least, facts.images))
    if seconds(few) > limit:
        needed = math.floor(seconds(few) / _PLANNED) + 1
        raise ValueError(_too_short(needed, budget, least, overrides))
    slope = (seconds(all_) - seconds(few)) / (facts.images - least)
    images = least + math.floor((limit - seconds(few)) / slope)
    return {**sizes, "images": min(images, facts.images)}


def _sizes(known: Known) -> dict[str, Any]:
    return {name: known[name] for name in ("views", "stages", "epochs")}


def _cuts(known: Known, kept: Known) -> Iterator[dict[str, Any]]:
    """Sizes that cost less and less: first what is missed least is cut."""
    sizes = _sizes(known)
    yield sizes
    if "views" not in kept:
        # A single view that differs from its photo would take the photo's place.
        least = 2 if "augmentation" in kept else 1
        for views in range(sizes["views"] - 1, least - 1, -1):
            sizes["views"] = views
            yield sizes
    each = [kept.get(name) for name in ("epochs", "learning_rates")]
    droppable = "stages" not in kept and not any(isinstance(v, Sequence) for v in each)
    while droppable and len(sizes["stages"]) > 1:
        for name in ("stages", "epochs"):
            sizes[name] = sizes[name][:-1]
        yield sizes
    if "epochs" not in kept:
        for most in range(max(sizes["epochs"], default=1) - 1, 0, -1):
            sizes["epochs"] = tuple(min(epochs, most) for epochs in sizes["epochs"])
            yield sizes
    if known["probe"] and droppable and each == [None, None]:
        sizes.update(stages=(), epochs=())
        yield sizes


def _cut_reason(name: str, before: Any, budget: float) -> str:
    order = {
        "views": "views are cut first",
        "stages": "stages are cut after views, the earliest first",
        "epochs": "epochs are cut after views and stages",
        "images": "photos are cut last, in proportion to their classes",
    }
    return (
        f"Cut from {_text(name, before)} to fit into {100 * _PLANNED:.0f} % of "
        f"{format_duration(budget)}; {order[name]}."
    )


def _too_short(needed: float, budget: float, images: int, overrides: Known) -> str:
    kept = f", with {', '.join(overrides)} as you asked" if overrides else ""
    return (
        f"A time budget of {format_duration(budget)} is too short: the least that would do "
        f"is {format_duration(needed)}, for {count_of(images, 'training photo')}{kept}. "
        "Allow more time, or train on fewer or smaller photos."
    )


def _text(name: str, value: Any) -> str:
    if name == "seconds":
        return format_duration(value)
    if isinstance(value, tuple):
        return ", ".join(_text("", item) for item in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text if len(text) <= 30 else f"{text[:27]}..."


def _listed(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {format_duration(s)}" for name, s in parts.items())
