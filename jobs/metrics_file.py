"""Where jobs leave their metrics, for the node exporter's textfile collector."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, write_to_textfile

from artefacts.addresses import Artefacts
from jobs.settings import JobsSettings


def write_metrics(metrics: CollectorRegistry, beside: Path, name: str, *, of_features: bool = False) -> None:
    """Write `<name>.prom` beside what the job leaves, or `<use case>.<name>.prom` into `JOBS_METRICS_DIR`.

    Args:
        of_features: they are of the features, which several use cases may share: the file has the name of their owner.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = JobsSettings().metrics_dir
    if folder is not None:
        artefacts = Artefacts.of(os.environ)
        name = f"{(artefacts.features_of if of_features else artefacts.use_case).name}.{name}"
        folder.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str((folder or beside) / f"{name}.prom"), metrics)
