"""Opens the engine that computes features: DuckDB or Spark."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import JobError
from jobs.features.engine import Engine
from jobs.settings import JobsSettings

ENGINES = ("duckdb", "spark")


@contextmanager
def open_engine(name: str, settings: JobsSettings, scratch: Path) -> Iterator[Engine]:
    """Open an engine by name; closes it at the end.

    Args:
        scratch: an existing folder for what exceeds memory; the caller removes it.

    Raises:
        JobError: there is no such engine, its software is not installed, or it failed inside the block.
    """
    if name == "duckdb":
        from jobs.features.duckdb_engine import open_duckdb

        with open_duckdb(settings, scratch) as engine:
            yield engine
    elif name == "spark":
        from jobs.features.spark_engine import open_spark

        with open_spark(settings, scratch) as engine:
            yield engine
    else:
        raise JobError(f"engine {name!r} is not one of {', '.join(ENGINES)}")
