"""Draws the jobs' figure: cost of every step by number of customers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.jobs.report import STEPS
from benchmarks.jobs.targets import at
from benchmarks.plot import drawing


def jobs_figure(sizes: Mapping[str, Any], file: Path) -> None:
    """Draw seconds and peak memory of every command over customers, as SVG."""
    with drawing(file) as drawn:
        panels = zip(drawn.subplots(1, 2), ("seconds", "peak_rss_mb"), ("seconds", "peak memory, MB"), strict=True)
        for panel, figure, label in panels:
            for step, path in STEPS.items():
                points = [
                    (int(size), value)
                    for size, measured in sizes.items()
                    if (value := at(measured, *path, figure)) is not None
                ]
                if points:
                    stock = path[1] == "stock"
                    style = {"color": "black", "linestyle": "--"} if stock else {}
                    panel.plot(*zip(*points, strict=True), marker="o", label=step.replace("`", ""), **style)
            panel.set(xlabel="customers", ylabel=label, xscale="log", yscale="log")
            panel.grid(alpha=0.3)
        drawn.legend(*panel.get_legend_handles_labels(), loc="outside right center")
