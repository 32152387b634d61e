"""Charts as SVG within a page: they follow its colours, and scale with it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kerasresnet.markup import Html, element
from kerasresnet.scores import ReliabilityBin

_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 18, 26, 40
_TICKS = 5
_LEAST = 1e-9  # of values, what is a difference
# In the order of drawing; the page gives them colours, and dashes beside them.
_LINES = ("first", "second", "third")

Write = Callable[[float], str]


@dataclass(frozen=True)
class _Frame:
    """Maps values to places in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Returns the place of a point, in the picture's units."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 1),
        )


def line_chart(
    lines: Mapping[str, Sequence[float]],
    *,
    title: str,
    xlabel: str = "epoch",
    write: Write = "{:g}".format,
) -> Html:
    """Draws up to three lines over 1, 2, 3, ….

    Args:
        lines: Values by name; what is not finite is left out.
        title: What the values are.
        xlabel: What is counted.
        write: Turns a value into the text of a tick.
    """
    values = [v for line in lines.values() for v in line if math.isfinite(v)]
    count = max((len(line) for line in lines.values()), default=0)
    if not values:
        return element("p", f"{title}: no value is finite.")
    ticks = _nice(min(values), max(values))
    frame = _Frame((0.5, count + 0.5), (ticks[0], ticks[-1]))
    step = math.ceil(count / 10)
    parts = [
        *_axes(frame, title, xlabel),
        *_y_ticks(frame, ticks, write),
        *_x_ticks(frame, range(1, count + 1, step), str),
    ]
    for number, (style, (name, line)) in enumerate(
        zip(_LINES, lines.items(), strict=False)
    ):
        points = [frame.place(i, v) for i, v in enumerate(line, 1) if math.isfinite(v)]
        parts += _line(points, style)
        parts.append(
            _text(
                _WIDTH - _RIGHT - 88 * (len(lines) - 1 - number),
                14,
                f"● {name}",
                f"key {style}",
                "end",
            )
        )
    return _picture(parts, f"{title} over {count} {xlabel}s")


def reliability_chart(bins: Sequence[ReliabilityBin]) -> Html:
    """Draws accuracy over confidence, with 95 % intervals; on the diagonal is right.

    Args:
        bins: Those of a report.
    """
    frame = _Frame((0.0, 1.0), (0.0, 1.0))
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = [
        *_axes(frame, "accuracy", "confidence"),
        *_y_ticks(frame, ticks, "{:.0%}".format),
        *_x_ticks(frame, ticks, "{:.0%}".format),
        _segment(frame.place(0, 0), frame.place(1, 1), "diagonal"),
    ]
    most = max(one.count for one in bins)
    for one in (each for each in bins if each.count):
        low, high = (frame.place(one.confidence, end) for end in one.accuracy_interval)
        x, y = frame.place(one.confidence, one.accuracy)
        told = f"{one.count:,} images: confidence {one.confidence:.1%}, accuracy {one.accuracy:.1%}"
        parts.append(_segment(low, high, "reach"))
        parts.append(
            element(
                "circle",
                element("title", told),
                cx=x,
                cy=y,
                r=round(2.5 + 5 * math.sqrt(one.count / most), 1),
                class_="first point",
            )
        )
    return _picture(parts, "accuracy over confidence")


def _picture(parts: Sequence[Html], label: str) -> Html:
    return element(
        "svg", *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label
    )


def _axes(frame: _Frame, title: str, xlabel: str) -> list[Html]:
    corner = frame.place(frame.x[0], frame.y[0])
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return [
        _segment(corner, frame.place(frame.x[1], frame.y[0]), "axis"),
        _segment(corner, frame.place(frame.x[0], frame.y[1]), "axis"),
        _text(_LEFT, 14, title, "name", "start"),
        _text(middle, _HEIGHT - 8, xlabel, "name", "middle"),
    ]


def _y_ticks(frame: _Frame, ticks: Sequence[float], write: Write) -> list[Html]:
    parts = []
    for tick in ticks:
        left, right = (frame.place(x, tick) for x in frame.x)
        parts.append(_segment(left, right, "grid"))
        parts.append(_text(left[0] - 6, left[1] + 4, write(tick), "tick", "end"))
    return parts


def _x_ticks(frame: _Frame, ticks: Sequence[float], write: Write) -> list[Html]:
    places = [(tick, frame.place(tick, frame.y[0])) for tick in ticks]
    return [_text(x, y + 15, write(tick), "tick", "middle") for tick, (x, y) in places]


def _line(points: Sequence[tuple[float, float]], style: str) -> list[Html]:
    path = " ".join(f"{x},{y}" for x, y in points)
    dots = [
        element("circle", cx=x, cy=y, r=2.5, class_=f"{style} point") for x, y in points
    ]
    return [element("polyline", points=path, class_=f"{style} line"), *dots]


def _segment(start: tuple[float, float], end: tuple[float, float], style: str) -> Html:
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=style)


def _text(x: float, y: float, text: str, style: str, anchor: str) -> Html:
    return element("text", text, x=x, y=y, class_=style, text_anchor=anchor)


def _nice(low: float, high: float) -> list[float]:
    """Ticks at round numbers, from at most `low` to at least `high`."""
    size, span = max(abs(low), abs(high)), high - low
    if span <= _LEAST * size:  # one value, but for rounding
        span = size or 1.0
    raw = span / (_TICKS - 1)
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    # 0.30000000000000004 is 0.3.
    return [float(f"{i * step:.12g}") for i in range(first, max(last, first + 1) + 1)]
