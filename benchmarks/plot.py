"""Draws figures as SVG, and the figure of the online results."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS = "ours"
_BATCHES = (1, 10, 100, 1000)


@contextmanager
def drawing(file: Path) -> "Iterator[Figure]":
    """Yield an empty figure and write it as SVG at the end; equal drawings give equal bytes."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "churn", "font.size": 9}):
        drawn = Figure(figsize=(9, 3.6), layout="constrained")
        yield drawn
        file.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(file, format="svg", metadata={"Date": None})


def figure(peers: Mapping[str, Any], file: Path) -> None:
    """Draw requests/s at 32 connections and predictions/s of batches over one connection, for every peer."""
    with drawing(file) as drawn:
        singles, batches = drawn.subplots(1, 2)
        names = [name for name in peers if _median(peers[name], "single_32", "requests_per_second") is not None]
        values = [_median(peers[name], "single_32", "requests_per_second") or 0.0 for name in names]
        bars = singles.barh(
            [f"{peers[name]['title']} ({name})" for name in names],
            values,
            color=["tab:blue" if name == OURS else "silver" for name in names],
        )
        singles.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3)
        singles.set(xlabel="requests/s, single ids, 32 connections", xscale="log")
        singles.margins(x=0.25)
        singles.invert_yaxis()
        for name, peer in peers.items():
            points = [
                (rows, value)
                for rows in _BATCHES
                if (value := _median(peer, _scenario(rows), "predictions_per_second")) is not None
            ]
            if len(points) > 1:
                batches.plot(*zip(*points, strict=True), marker="o", label=name, linewidth=2.5 if name == OURS else 1)
        batches.set(xlabel="ids in one request, 1 connection", ylabel="predictions/s", xscale="log", yscale="log")
        batches.legend()


def _scenario(rows: int) -> str:
    return "single_1" if rows == 1 else f"batch_{rows}_1"


def _median(peer: Mapping[str, Any], scenario: str, name: str) -> float | None:
    found = peer["scenarios"].get(scenario, {}).get(name)
    return None if found is None else float(found["median"])
