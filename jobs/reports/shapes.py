"""The shapes of a finished chart. All places and sizes are in pixels from the top left."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bar:
    """A filled rectangle with a text for its tooltip."""

    x: float
    y: float
    width: float
    height: float
    colour: int
    label: str


@dataclass(frozen=True)
class Line:
    """A line. kind: `grid`, `axis`, `diagonal`, `interval`, `curve` or `reference`."""

    x1: float
    y1: float
    x2: float
    y2: float
    kind: str
    colour: int = 0


@dataclass(frozen=True)
class Dot:
    """A point of data with a text for its tooltip."""

    x: float
    y: float
    colour: int
    label: str


@dataclass(frozen=True)
class Words:
    """A text. anchor: which part of it stands at (x, y): `start`, `middle` or `end`; turn: degrees."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    turn: float = 0.0


@dataclass
class Chart:
    """A finished chart.

    summary: the text alternative.
    legend: colour and name of each series; empty where there is only one.
    """

    title: str
    summary: str
    width: float
    height: float
    legend: list[tuple[int, str]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)
