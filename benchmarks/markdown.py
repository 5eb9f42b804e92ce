"""Markdown for pages that are generated from results. Pure."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

NOT_MEASURED = "Not measured yet."


def verdicts(targets: Sequence[Mapping[str, Any]]) -> str:
    """Table of targets, from results of `Target.verdict`."""
    rows = []
    for target in targets:
        limit = f"{'≥' if target['relation'] == '>=' else '≤'} {target['limit']:,.6g} {target['unit']}"
        measured = (
            "–"
            if target["median"] is None
            else with_spread(target, 0 if target["limit"] >= 1000 else 2, f" {target['unit']}")
        )
        verdict = "not measured" if target["median"] is None else "met" if target["met"] else "**not met**"
        rows.append((target["name"], limit, measured, verdict))
    return table(("target", "limit", "measured", ""), rows, left=1)


def machine(section: Mapping[str, Any]) -> str:
    """Paragraph: when, with which code and on which machine a section was measured."""
    on = section["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in section["versions"].items())
    return prose(
        f"{section['measured_at']}, commit `{section['git_commit']}`; {on['processor']}, {on['cores']} cores, "
        f"{on['memory_gb']} GB, {on['system']}, load average before it {on['load_average_before']:.2f}. {packages}."
    )


def prose(text: str) -> str:
    """A paragraph."""
    return textwrap.fill(" ".join(text.split()), 118, break_long_words=False, break_on_hyphens=False) + "\n"


def with_spread(value: Mapping[str, float] | None, digits: int, unit: str = "") -> str:
    """Median and, in brackets, lowest and highest."""
    if value is None:
        return "–"
    middle = f"{value['median']:,.{digits}f}"
    if value["low"] == value["high"]:
        return middle + unit
    return f"{middle}{unit} [{value['low']:,.{digits}f}–{value['high']:,.{digits}f}]"


def number(value: Mapping[str, float] | None, digits: int) -> str:
    """The median."""
    return "–" if value is None else f"{value['median']:,.{digits}f}"


def number_of(value: float | None, digits: int = 1) -> str:
    """A number, or a dash if it was not measured."""
    return "–" if value is None else f"{value:,.{digits}f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Markdown table; the columns after the first `left` are right-aligned numbers."""
    rule = ["---"] * left + ["---:"] * (len(columns) - left)
    lines = [columns, rule, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
