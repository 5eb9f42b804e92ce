"""Writes the files of a report. Readers find the old file or the new one, never a part."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from artefacts.process.atomic_files import write_atomically
from jobs.errors import JobError
from jobs.metrics_file import write_metrics


def write_report(
    folder: Path,
    name: str,
    report: Mapping[str, Any],
    pages: Mapping[str, str],
    metrics: CollectorRegistry | None = None,
) -> None:
    """Write the pages, `name`.json, and `name`.prom if there are metrics.

    Args:
        pages: name of the file → HTML.
        metrics: for the node exporter's textfile collector, see `write_metrics`.

    Raises:
        JobError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, html in pages.items():
            write_atomically(folder / file, html)
        write_atomically(
            folder / f"{name}.json", json.dumps(report, indent=2, ensure_ascii=False, default=_to_json) + "\n"
        )
        if metrics is not None:
            write_metrics(metrics, folder, name)
    except OSError as error:
        raise JobError(f"{folder}: the report cannot be written: {error.strerror}") from None


def _to_json(value: object) -> object:
    """Times as ISO 8601; `json` has no way to write anything else that comes here."""
    return value.isoformat() if isinstance(value, datetime) else value
