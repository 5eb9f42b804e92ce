"""The file of results: each command replaces its own section and leaves the others."""

import json
from pathlib import Path
from typing import Any

from artefacts.addresses import PROJECT_ROOT
from artefacts.process.atomic_files import write_atomically

RESULTS = PROJECT_ROOT / "benchmarks" / "results" / "online.json"
JOBS_FILE = "jobs.json"
"""Beside the file above: what the jobs cost."""
GATE_FILE = "gate.json"
"""Beside it, too: what the gate lets through."""


def load(file: Path = RESULTS) -> dict[str, Any]:
    """All sections; empty where nothing has been measured."""
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return document


def load_all(file: Path = RESULTS) -> dict[str, Any]:
    """All sections, and those of the files beside it."""
    return load(file) | load(file.with_name(JOBS_FILE)) | load(file.with_name(GATE_FILE))


def store(file: Path, section: str, content: dict[str, Any]) -> None:
    """Replace one section."""
    document = {**load(file), section: _rounded(content)}
    write_atomically(file, json.dumps(document, indent=1) + "\n")


def _rounded(value: Any) -> Any:
    """Five significant digits; more would be noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_rounded(member) for member in value]
    return value
