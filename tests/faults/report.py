"""The table of docs/reliability.md, from what the suite measured: `python -m tests.faults.report FILE`."""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.generated_parts import GeneratedPart
from tests.loop import SOURCE

PAGE = SOURCE / "docs" / "reliability.md"


def table(measurements: list[dict[str, Any]], about: str) -> str:
    """Markdown: one row per fault."""
    columns = "fault | requests | wrong | longest, ms | before, ms | machine, ms | recovery, s | answers since it began"
    lines = [about, "", f"| {columns} |", "|---|---:|---:|---:|---:|---:|---:|---|"]
    for m in measurements:
        outcomes = ", ".join(f"{count:,} × {what}" for what, count in m["outcomes"].items())
        longest, before, lost = (f"{1000 * m[key]:.0f}" for key in ("longest", "baseline", "lost"))
        lines.append(
            f"| {m['fault']} | {m['requests']:,} | {m['wrong']} | {longest} | {before} | {lost} "
            f"| {m['recovery']:.2f} | {outcomes} |"
        )
    return "\n".join(lines)


def main(file: str) -> None:
    """Write the table."""
    measurements = json.loads(Path(file).read_text())
    total, wrong = (sum(m[key] for m in measurements) for key in ("requests", "wrong"))
    about = (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}: "
        f"{len(measurements)} faults, {total:,} requests, {wrong} wrong answers."
    )
    GeneratedPart(PAGE, "faults", table(measurements, about), by="make faults").write()


if __name__ == "__main__":
    main(sys.argv[1])
