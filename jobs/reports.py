"""Reports as files that appear in one step, and as pages that load nothing."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, write_to_textfile

from artefacts.process.atomic_files import write_atomically
from artefacts.process.printable import printable
from jobs.errors import JobError

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#222}h1,h2{font-weight:600}
table{border-collapse:collapse;margin-bottom:1.5rem}td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;
vertical-align:top}th{background:#f2f2f2}"""


def put_report(
    folder: Path,
    name: str,
    report: Mapping[str, Any],
    pages: Mapping[str, str],
    metrics: CollectorRegistry | None = None,
) -> None:
    """Write `name`.json, the pages, and `name`.prom where there are metrics; each in one step.

    Args:
        pages: name of the file → HTML.
        metrics: for the node exporter's textfile collector.

    Raises:
        JobError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, html in pages.items():
            write_atomically(folder / file, html)
        write_atomically(
            folder / f"{name}.json", json.dumps(report, indent=2, ensure_ascii=False, default=shown) + "\n"
        )
        if metrics is not None:
            write_to_textfile(str(folder / f"{name}.prom"), metrics)
    except OSError as error:
        raise JobError(f"{folder}: the report cannot be written: {error.strerror}") from None


def page(title: str, outcome: str, parts: Iterable[str]) -> str:
    """HTML in one file; parts that are empty leave no trace."""
    top = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{_safe(title)}</title>",
        f"<style>{_STYLE}</style><h1>{_safe(title)}: {_safe(outcome)}</h1>",
    )
    return "\n".join(part for part in (*top, *parts) if part) + "\n"


def paragraph(text: str) -> str:
    """Some words; nothing without any."""
    return f"<p>{_safe(text)}</p>" if text else ""


def table(title: str, heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table under its title; nothing without rows, and no head where no column has a name."""
    lines = [_row("td", row) for row in rows]
    if not lines:
        return ""
    top = _row("th", heads) if any(heads := list(heads)) else ""
    return f"<h2>{_safe(title)}</h2><table>{top}{''.join(lines)}</table>"


def listed(title: str, lines: list[str]) -> str:
    """A list under its title; nothing without lines."""
    items = "".join(f"<li>{_safe(line)}</li>" for line in lines)
    return f"<h2>{_safe(title)}</h2><ul>{items}</ul>" if lines else ""


def paired_bars(
    title: str, bins: Sequence[str], first: tuple[str, Sequence[float]], second: tuple[str, Sequence[float]]
) -> str:
    """A chart in SVG: for each bin the shares of two samples beside one another.

    Args:
        first, second: name and one share in [0, 1] for each bin.
    """
    step, height, below = 56, 120, 90
    top = max([*first[1], *second[1], 1e-9])
    width = step * len(bins) + 10
    drawn = []
    for n, label in enumerate(bins):
        left = 10 + n * step
        for offset, colour, (name, shares) in ((0, "#9aa5b1", first), (20, "#c2410c", second)):
            tall = height * shares[n] / top
            drawn.append(
                f"<rect x='{left + offset}' y='{20 + height - tall:.1f}' width='18' height='{tall:.1f}' "
                f"fill='{colour}'>"
                f"<title>{_safe(f'{label}: {shares[n]:.1%} {name}')}</title></rect>"
            )
        x, y = left + 20, 20 + height + 12
        drawn.append(f"<text x='{x}' y='{y}' transform='rotate(40 {x} {y})'>{_safe(label)}</text>")
    drawn.append(
        f"<text x='10' y='12' fill='#52606d'>{_safe(first[0])}</text>"
        f"<text x='90' y='12' fill='#c2410c'>{_safe(second[0])}</text>"
        f"<text x='150' y='12'>{_safe(f'highest bar {top:.1%}')}</text>"
    )
    svg = f"<svg role='img' width='{width + 60}' height='{20 + height + below}' font-size='11'>{''.join(drawn)}</svg>"
    return f"<h2>{_safe(title)}</h2>{svg}"


def shown(value: object) -> object:
    """A time as text; for `json.dumps(default=…)`, too."""
    return value.isoformat() if isinstance(value, datetime) else value


def _safe(text: str) -> str:
    """Text for HTML, whoever wrote it."""
    return escape(printable(text))


def _row(cell: str, values: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{cell}>{_safe(_text(value))}</{cell}>" for value in values) + "</tr>"


def _text(value: object) -> str:
    return "" if value is None else f"{value:.9g}" if isinstance(value, float) else str(shown(value))


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table as lines of text, its columns as wide as they need to be."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
