"""Figures of training: what happened over the epochs, the rates or the photos."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from kerasresnet.errors import count_of
from kerasresnet.figures import (
    BLUE,
    COLOURS,
    GRAY,
    MARKERS,
    ORANGE,
    NotebookFigure,
    shortened,
)
from kerasresnet.learning_curves import LearningCurve
from kerasresnet.rates import LearningRates


def plot_history(*histories: Any) -> Figure:
    """Draws loss and metrics over the epochs, of one run or of several.

    Args:
        *histories: What `fit` and `fine_tune` returned, or their `.history` dicts, in
            the order of training. A dotted line marks where the next one begins. Or, to
            compare runs, one dictionary of names and histories; a list of histories is a
            run in several parts.

    Returns:
        A `Figure` with a panel for each metric: training and validation.

    Raises:
        ValueError: If there is no epoch to draw, or runs and histories are mixed.

    Example:

    >>> history = {"loss": [1.2, 0.7], "val_loss": [1.3, 0.9]}
    >>> figure = kr.plot_history(history)
    >>> figure.savefig("history.png")
    >>> other = {"loss": [1.6, 1.1], "val_loss": [1.6, 1.2]}
    >>> runs = kr.plot_history({"from the probe": history, "random head": other})
    >>> runs.savefig("runs.png")
    """
    compared = [one for one in histories if _are_runs(one)]
    if compared and len(histories) > 1:
        raise ValueError(
            "Expected histories in the order of training, or one dictionary of names and "
            "histories, received both."
        )
    if compared:
        runs = {name: _run(part) for name, part in compared[0].items()}
    else:
        runs = {"": _run(histories)}
    names = dict.fromkeys(name for run in runs.values() for name in run.metrics)
    if not names:
        raise ValueError(
            "There is no epoch to draw: pass what fit or fine_tune returned."
        )
    size = (4.8 * len(names), 4.0 if compared else 3.6)
    figure = NotebookFigure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        if compared:
            _compare_metric(axis, name, runs)
        else:
            _draw_metric(axis, name, runs[""])
        _describe_metric(axis, name, max(sum(run.lengths) for run in runs.values()))
    if compared:
        _name_runs(figure, list(runs))
    return figure


@dataclass(frozen=True)
class _Run:
    """The histories of a run, in order."""

    parts: list[Mapping[str, list[float]]]

    @property
    def lengths(self) -> list[int]:
        """The epochs of each part."""
        return [
            max((len(values) for values in part.values()), default=0)
            for part in self.parts
        ]

    @property
    def metrics(self) -> list[str]:
        """Names of what is drawn; none if there is no epoch."""
        if not sum(self.lengths):
            return []
        names = [name for name in self.parts[0] if not name.startswith("val_")]
        return [name for name in names if name != "learning_rate"]

    def values(self, name: str) -> list[float]:
        """The values of all epochs, NaN where there is none."""
        return [
            value
            for part, length in zip(self.parts, self.lengths, strict=True)
            for value in part.get(name, [math.nan] * length)
        ]


def _run(history: Any) -> _Run:
    parts = history if isinstance(history, tuple | list) else [history]
    return _Run([p if isinstance(p, Mapping) else dict(p.history) for p in parts])


def _are_runs(value: Any) -> bool:
    """Whether it is a dictionary of histories, and not that of a history."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(
            _is_history(one)
            or (isinstance(one, tuple | list) and one and all(map(_is_history, one)))
            for one in value.values()
        )
    )


def _is_history(value: Any) -> bool:
    return isinstance(value, Mapping) or hasattr(value, "history")


def _draw_metric(axis: Any, name: str, run: _Run) -> None:
    curves = ((name, "training", BLUE), (f"val_{name}", "validation", ORANGE))
    for key, label, colour in curves:
        values = run.values(key)
        epochs = np.arange(1, len(values) + 1)
        if not np.all(np.isnan(values)):
            axis.plot(epochs, values, "o-", markersize=3.5, color=colour, label=label)
    for start in np.cumsum(run.lengths)[:-1]:
        axis.axvline(start + 0.5, color=GRAY, linestyle=":", label="next stage")
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axis.legend(list(unique.values()), list(unique))


def _compare_metric(axis: Any, name: str, runs: Mapping[str, _Run]) -> None:
    for number, run in enumerate(runs.values()):
        colour, marker = _style(number)
        for key, line, width in ((name, "--", 1.0), (f"val_{name}", "-", 1.8)):
            values = run.values(key)
            epochs = np.arange(1, len(values) + 1)
            if not np.all(np.isnan(values)):
                axis.plot(
                    epochs,
                    values,
                    line,
                    color=colour,
                    marker=marker,
                    markersize=4 if line == "-" else 2.5,
                    linewidth=width,
                )


def _describe_metric(axis: Any, name: str, epochs: int) -> None:
    axis.set(title=name.replace("_", " "), xlabel="epoch")
    axis.set_xlim(0.5, epochs + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if "accuracy" in name:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(alpha=0.3)


def _name_runs(figure: Figure, names: Sequence[str]) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, label=shortened(name))
        for name, (colour, marker) in zip(
            names, map(_style, range(len(names))), strict=True
        )
    ]
    handles += [
        Line2D([], [], color=GRAY, linestyle="-", label="validation"),
        Line2D([], [], color=GRAY, linestyle="--", label="training"),
    ]
    columns = min(len(handles), 2 * len(figure.axes))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _style(number: int) -> tuple[str, str]:
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def plot_learning_rate(found: LearningRates) -> Figure:
    """Draws the loss over the rates of a search, and marks the suggestion.

    The axis of the loss ends where the smoothed loss does; single batches may lie above.

    Args:
        found: What `find_learning_rate` returned.

    Returns:
        A `Figure` with one panel: learning rate (logarithmic) against training loss.

    Example:

    >>> train = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> found = kr.find_learning_rate(model, train, steps=20, verbose=0)
    >>> kr.plot_learning_rate(found).savefig("rates.png")  # before kr.fit(...)
    """
    figure = NotebookFigure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    axis.plot(found.rates, found.losses, color=BLUE, alpha=0.3, label="each batch")
    axis.plot(found.rates, found.smoothed, color=BLUE, linewidth=2, label="smoothed")
    axis.set_xscale("log")
    axis.set(
        title=_title(found),
        xlabel="learning rate (logarithmic)",
        ylabel="training loss",
    )
    axis.set_ylim(*_loss_limits(found))
    if not math.isnan(found.suggestion):
        _mark_suggestion(axis, found)
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def _title(found: LearningRates) -> str:
    if found.diverged is None:
        return f"the loss did not run away up to {found.rates[-1]:.2g}"
    return f"the loss ran away at {found.diverged:.2g}"


def _loss_limits(found: LearningRates) -> tuple[float, float]:
    losses, smoothed = np.array(found.losses), np.array(found.smoothed)
    # In its last steps a loss that runs away would press all the rest flat.
    calm = losses[: max(len(losses) - 5, 1)]
    high = max(np.max(smoothed[np.isfinite(smoothed)]), np.quantile(calm, 0.9))
    low = np.min(losses[np.isfinite(losses)])
    margin = 0.05 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _mark_suggestion(axis: Any, found: LearningRates) -> None:
    at = found.rates.index(found.suggestion)
    point = (found.suggestion, found.smoothed[at])
    axis.axvline(point[0], color=ORANGE, linestyle=":")
    label = f"suggestion: {point[0]:.2g}"
    axis.plot(*point, "o", color=ORANGE, markersize=8, label=label)


def plot_learning_curve(curve: LearningCurve) -> Figure:
    """Draws the accuracy over the number of photos, and where it leads.

    Args:
        curve: What `learning_curve` returned.

    Returns:
        A `Figure` with one panel: photos trained on (logarithmic) against accuracy, means
        over the folds with their 95 % intervals. Dashed, what the power law gives for more
        photos; without it the title says that there is none.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(
    ...     class_names=data.class_names, weights=None, input_shape=(32, 32, 3)
    ... )
    >>> curve = kr.learning_curve(model, data, sizes=[0.7, 1.0], k=3, verbose=0)
    >>> kr.plot_learning_curve(curve).savefig("curve.png")
    """
    figure = NotebookFigure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    low, high = np.array(curve.intervals).T
    axis.fill_between(
        curve.counts,
        low,
        high,
        color=BLUE,
        alpha=0.2,
        linewidth=0,
        label="95 % interval",
    )
    axis.plot(curve.counts, curve.means, "o-", color=BLUE, label="measured")
    _draw_forecasts(axis, curve)
    axis.set_xscale("log")
    ahead = [one.images for one in curve.forecasts or ()]
    axis.set_xticks(
        [*curve.counts, *ahead], [f"{n:,}" for n in (*curve.counts, *ahead)]
    )
    axis.tick_params(axis="x", rotation=45)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    worth = f"{curve.means[-1]:.1%} with {count_of(curve.counts[-1], 'photo')}"
    axis.set(
        title=worth if curve.forecasts else f"{worth}, no extrapolation",
        xlabel="photos trained on (logarithmic)",
        ylabel="accuracy on held-out photos",
    )
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    return figure


def _draw_forecasts(axis: Any, curve: LearningCurve) -> None:
    if curve.law is None or curve.forecasts is None:
        return
    photos = np.geomspace(curve.counts[0], curve.forecasts[-1].images, 100)
    values = [curve.law.accuracy(n) for n in photos]
    axis.plot(photos, values, "--", color=ORANGE, label="power law, extrapolated")
    for one in curve.forecasts:
        low, high = one.interval
        # The law may be flat at 100 %, with its interval on one side only.
        reach = [[max(one.accuracy - low, 0)], [max(high - one.accuracy, 0)]]
        axis.errorbar(
            one.images, one.accuracy, yerr=reach, fmt="s", color=ORANGE, capsize=4
        )
