"""Computes charts: which shapes stand where. `templates/parts.html` draws them as inline SVG.

Colours are numbers here. The style of the page gives each number one colour on light and one on dark screens.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from jobs.reports.shapes import Bar, Chart, Dot, Line, Words

COLOURS = 10
_LETTER = 6.4
"""Mean width of a letter at the font size of a chart, in pixels."""
_PLOT_HEIGHT = 180.0
_WIDEST_BAR = 36.0
_TILT = math.radians(40)
_MOST_TOLD = 60
"""Numbers that a text alternative lists; of more it gives the range."""


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """One value for each category of a chart; None draws nothing there."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Estimates:
    """One estimate for each category of a chart; None draws nothing there.

    reference: a value to compare the estimates with.
    """

    name: str
    values: Sequence[Interval | None]
    reference: float | None = None


@dataclass(frozen=True)
class Curve:
    """Points of a line, from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """What an axis measures, with its unit.

    percent: values are shares in [0, 1] and are written in per cent.
    """

    name: str
    percent: bool = False

    def text(self, value: float) -> str:
        """A value as the axis writes it."""
        return f"{round(value * 100, 6):.4g}%" if self.percent else f"{round(value, 9):.4g}"


def columns(
    title: str, categories: Sequence[str], series: Sequence[Series], x: str, y: Axis, stacked: bool = False
) -> Chart:
    """Draw columns for each category: one for each series side by side, or stacked on each other."""
    totals = [sum(_numbers(one.values[n] for one in series)) for n in range(len(categories))]
    top = max(totals if stacked else _numbers(v for one in series for v in one.values), default=0.0)
    ticks = _ticks(0.0, top)
    chart, area = _over_categories(title, categories, ticks, x, y, [one.name for one in series])
    chart.summary = _summary(x, y, categories, [(one.name, one.values) for one in series])
    share = 1 if stacked else len(series)
    width = min(_WIDEST_BAR, 0.8 * area.step / share)
    base = [0.0] * len(categories)
    for colour, one in enumerate(series):
        for n, value in enumerate(one.values):
            if not value:
                continue
            left = area.x(n + 0.5) - width * share / 2 + (0 if stacked else colour * width)
            low = base[n] if stacked else 0.0
            base[n] = low + value
            label = f"{categories[n]}, {one.name}: {y.text(value)}"
            tall = area.y(low) - area.y(low + value)
            chart.bars.append(Bar(left, area.y(low + value), width, tall, colour % COLOURS, label))
    return chart


def stacked_rows(title: str, categories: Sequence[str], series: Sequence[Series], x: Axis) -> Chart:
    """Draw one horizontal bar for each category, with a part for each series."""
    totals = [sum(_numbers(one.values[n] for one in series)) for n in range(len(categories))]
    ticks = _ticks(0.0, max(totals, default=0.0))
    step, left = 24.0, 16 + _LETTER * max(map(len, categories), default=0)
    area = _Area(left, 8, 480, step * len(categories), (ticks[0], ticks[-1]), (0, len(categories)))
    chart = Chart(
        title=title,
        summary=_summary("", x, categories, [(one.name, one.values) for one in series]),
        width=left + area.width + 40,
        height=area.bottom + 44,
        legend=_legend([one.name for one in series]),
    )
    for tick in ticks:
        kind = "axis" if tick == ticks[0] else "grid"
        chart.lines.append(Line(area.x(tick), area.top, area.x(tick), area.bottom, kind))
        chart.words.append(Words(area.x(tick), area.bottom + 16, x.text(tick)))
    chart.words.append(Words(left + area.width / 2, area.bottom + 36, x.name))
    for n, category in enumerate(categories):
        y = area.top + step * n
        chart.words.append(Words(left - 8, y + 16, category, "end"))
        base = 0.0
        for colour, one in enumerate(series):
            if value := one.values[n]:
                label = f"{category}, {one.name}: {x.text(value)}"
                wide = area.x(base + value) - area.x(base)
                chart.bars.append(Bar(area.x(base), y + 4, wide, step - 8, colour % COLOURS, label))
                base += value
    return chart


def intervals(title: str, categories: Sequence[str], series: Sequence[Estimates], x: str, y: Axis) -> Chart:
    """Draw estimates with their intervals, and the value that each series is compared with as a dashed line."""
    ends = [end for one in series for estimate in one.values if estimate for end in estimate]
    ends += _numbers(one.reference for one in series)
    ticks = _ticks(min(ends, default=0.0), max(ends, default=1.0))
    chart, area = _over_categories(title, categories, ticks, x, y, [one.name for one in series])
    told = [(one.name, [estimate and estimate.value for estimate in one.values]) for one in series]
    chart.summary = _summary(x, y, categories, told)
    apart = min(18.0, 0.7 * area.step / max(1, len(series)))
    for number, one in enumerate(series):
        colour = number % COLOURS
        if one.reference is not None:
            at = area.y(one.reference)
            chart.lines.append(Line(area.left, at, area.right, at, "reference", colour))
            chart.summary += f" {one.name} is compared with {y.text(one.reference)}."
        for n, estimate in enumerate(one.values):
            if estimate is None:
                continue
            middle = area.x(n + 0.5) + apart * (number - (len(series) - 1) / 2)
            chart.lines.append(Line(middle, area.y(estimate.low), middle, area.y(estimate.high), "interval", colour))
            value, low, high = map(y.text, estimate)
            label = f"{categories[n]}, {one.name}: {value} [{low}, {high}]"
            chart.dots.append(Dot(middle, area.y(estimate.value), colour, label))
    return chart


def curves(title: str, series: Sequence[Curve], x: Axis, y: Axis) -> Chart:
    """Draw curves over a square, and the diagonal on which x and y are equal. Shares are drawn over [0, 1] × [0, 1]."""
    ends = [0.0, 1.0] if x.percent else [end for one in series for point in one.points for end in point]
    ticks = _ticks(min(ends, default=0.0), max(ends, default=1.0))
    limits = ticks[0], ticks[-1]
    area = _Area(_beside(ticks, y), 26, 240, 240, limits, limits)
    chart = Chart(title, "", area.right + 24, area.bottom + 44, _legend([one.name for one in series]))
    _value_axis(chart, area, ticks, y)
    for tick in ticks:
        chart.words.append(Words(area.x(tick), area.bottom + 16, x.text(tick)))
    chart.words.append(Words(area.left + area.width / 2, area.bottom + 36, x.name))
    chart.lines.append(Line(area.left, area.bottom, area.right, area.top, "diagonal"))
    said = []
    for number, one in enumerate(series):
        places = [(area.x(a), area.y(b)) for a, b in one.points]
        colour = number % COLOURS
        chart.lines += [Line(*a, *b, "curve", colour) for a, b in pairwise(places)]
        told = [f"{x.text(a)} → {y.text(b)}" for a, b in one.points]
        chart.dots += [Dot(*place, colour, f"{one.name}: {text}") for place, text in zip(places, told, strict=True)]
        said.append(f"{one.name}: {', '.join(told)}")
    chart.summary = f"{y.name} by {x.name}. {'; '.join(said)}."
    return chart


@dataclass(frozen=True)
class _Area:
    """The part of a chart inside the axes, and the values at its borders."""

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def step(self) -> float:
        """Pixels for 1 on the horizontal axis."""
        return self.width / (self.x_range[1] - self.x_range[0])

    def x(self, value: float) -> float:
        return self.left + self.width * (value - self.x_range[0]) / (self.x_range[1] - self.x_range[0])

    def y(self, value: float) -> float:
        return self.bottom - self.height * (value - self.y_range[0]) / (self.y_range[1] - self.y_range[0])


def _over_categories(
    title: str, categories: Sequence[str], ticks: Sequence[float], x: str, y: Axis, names: Sequence[str]
) -> tuple[Chart, _Area]:
    """Axes of a chart with a category for each whole number of the horizontal axis."""
    count, longest = max(1, len(categories)), _LETTER * max(map(len, categories), default=0)
    width = min(56.0 * count, max(840.0, 7.0 * count))
    width = max(width, 280.0)
    step = width / count
    turned = longest > step - 6
    left = max(_beside(ticks, y), longest * math.cos(_TILT) - step / 2 + 8 if turned else 0)
    area = _Area(left, 26, width, _PLOT_HEIGHT, (0, count), (ticks[0], ticks[-1]))
    below = longest * math.sin(_TILT) + 20 if turned else 22
    chart = Chart(title, "", area.right + 24, area.bottom + below + 22, _legend(names))
    _value_axis(chart, area, ticks, y)
    every = math.ceil(16 / step) if turned else 1
    for n in range(0, len(categories), every):
        place = (area.x(n + 0.5) + 4, area.bottom + 14) if turned else (area.x(n + 0.5), area.bottom + 16)
        chart.words.append(Words(*place, categories[n], "end" if turned else "middle", -40 if turned else 0))
    chart.words.append(Words(area.left + width / 2, area.bottom + below + 14, x))
    return chart, area


def _value_axis(chart: Chart, area: _Area, ticks: Sequence[float], y: Axis) -> None:
    for tick in ticks:
        at = area.y(tick)
        chart.lines.append(Line(area.left, at, area.right, at, "axis" if tick == ticks[0] else "grid"))
        chart.words.append(Words(area.left - 6, at + 4, y.text(tick), "end"))
    chart.words.append(Words(4, 12, y.name, "start"))


def _beside(ticks: Sequence[float], y: Axis) -> float:
    """Width of the numbers beside a vertical axis."""
    return 16 + _LETTER * max(len(y.text(tick)) for tick in ticks)


def _legend(names: Sequence[str]) -> list[tuple[int, str]]:
    return [(number % COLOURS, name) for number, name in enumerate(names)] if len(names) > 1 else []


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers, the first at or below `low` and the last at or above `high`."""
    span = high - low if high > low else abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= span / 5 * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _summary(x: str, y: Axis, categories: Sequence[str], series: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """The text alternative of a chart over categories."""
    few = len(categories) * len(series) <= _MOST_TOLD
    told = "; ".join(f"{name}: {(_each if few else _range)(categories, values, y.text)}" for name, values in series)
    return f"{y.name}{f' by {x}' if x else ''}. {told}."


def _each(categories: Sequence[str], values: Sequence[float | None], text: Callable[[float], str]) -> str:
    pairs = zip(categories, values, strict=True)
    return ", ".join(f"{category} {text(value)}" for category, value in pairs if value is not None)


def _range(categories: Sequence[str], values: Sequence[float | None], text: Callable[[float], str]) -> str:
    pairs = [(value, category) for value, category in zip(values, categories, strict=True) if value is not None]
    if not pairs:
        return "no values"
    (low, at), (high, then) = min(pairs), max(pairs)
    return f"from {text(low)} ({at}) to {text(high)} ({then})"
