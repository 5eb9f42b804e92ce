"""Reads and writes the results file; each command replaces its own section."""

import json
from pathlib import Path
from typing import Any

from artefacts.addresses import DEFAULT_USE_CASE, PROJECT_ROOT, Artefacts
from artefacts.process.atomic_files import write_atomically

RESULTS = PROJECT_ROOT / "benchmarks" / "results" / "online.json"
JOBS_FILE = "jobs.json"
"""Costs of the jobs, in the same folder."""
GATE_FILE = "gate.json"
"""Power of the gate, in the same folder."""


def load(file: Path = RESULTS) -> dict[str, Any]:
    """All sections; empty if nothing was measured."""
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return document


def load_all(file: Path = RESULTS) -> dict[str, Any]:
    """All sections of this file and of the others in its folder."""
    return load(file) | load(file.with_name(JOBS_FILE)) | load(file.with_name(GATE_FILE))


def section_of(name: str, artefacts: Artefacts) -> str:
    """Name of the section of a use case: `online`, and `online_<use case>` of those that are not the default one."""
    case = artefacts.use_case
    return name if case == PROJECT_ROOT / DEFAULT_USE_CASE else f"{name}_{case.name}"


def store(file: Path, section: str, content: dict[str, Any]) -> None:
    """Replace one section."""
    document = {**load(file), section: _rounded(content)}
    write_atomically(file, json.dumps(document, indent=1) + "\n")


def _rounded(value: Any) -> Any:
    """Round to five significant digits; more would be noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_rounded(member) for member in value]
    return value
