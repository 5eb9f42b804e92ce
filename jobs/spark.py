"""Starts Spark for the jobs that can run on it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import JobError
from jobs.settings import JobsSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA_NEEDED = 17


@contextmanager
def spark_session(
    settings: JobsSettings, application: str, options: Mapping[str, str] | None = None
) -> Iterator["SparkSession"]:
    """Spark session of this process: UTC, timestamps in microseconds. Stopped at the end if it was started here.

    Args:
        application: its name on a cluster.
        options: further Spark properties.

    Raises:
        JobError: pyspark or Java is missing or too old, or Spark does not start, or Spark failed inside the block; the
            message quotes Spark's error.
    """
    problem = missing_for_spark()
    if problem:
        raise JobError(problem)
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    running = SparkSession.getActiveSession()
    session = running
    try:
        session = _builder(settings, application, options or {}).getOrCreate()
        yield session
    except (PySparkException, Py4JError) as error:
        raise JobError(f"Spark: {_message(error)}") from None
    finally:
        if session is not None and running is None:
            session.stop()


def _message(error: Exception) -> str:
    """The error's first line, or our own code's error on an executor, which ends a long trace."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    ours = [line for line in lines if re.match(r"(artefacts|contract|jobs|scoring)(\.\w+)+: ", line)]
    return ours[-1].partition(": ")[2] if ours else lines[0]


def _builder(settings: JobsSettings, application: str, options: Mapping[str, str]) -> Any:
    from pyspark.sql import SparkSession

    properties = {
        "spark.driver.memory": f"{settings.memory_limit_mb}m",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.log.level": "ERROR",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if settings.spark_master.startswith("local"):  # few cores, no other machine
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # Python workers use this environment too
        properties |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": "8",
        }
    builder = SparkSession.builder.master(settings.spark_master).appName(application)
    for name, value in {**properties, **options}.items():
        builder = builder.config(name, value)
    return builder


def spark_path(path: Path | str) -> str:
    """A path for Spark to read literally: Hadoop's glob characters are escaped.

    Absolute, because Spark would prepend the working folder unescaped.
    """
    return re.sub(r"([][{}*?\\])", r"\\\1", str(Path(path).absolute()))


def missing_for_spark() -> str | None:
    """Says what Spark needs and this machine lacks; None if nothing."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed; requirements/spark.txt has it"
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not os.access(java, os.X_OK):
        where = f"JAVA_HOME is {home}" if home else "there is no java on the PATH"
        return f"Spark needs Java {JAVA_NEEDED} or later, and {where}"
    version_text = subprocess.run(
        [java, "-version"], capture_output=True, encoding="utf-8", errors="replace", check=False
    ).stderr
    version = re.search(r'version "(\d+)', version_text)
    if version is None or int(version[1]) < JAVA_NEEDED:
        found = version_text.strip().splitlines()[0] if version_text.strip() else "a java that says nothing"
        return f"Spark needs Java {JAVA_NEEDED} or later; {java} is {found}"
    return None
