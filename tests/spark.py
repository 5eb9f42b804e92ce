"""Tests that need Spark: skipped, with the reason, where it cannot run; in CI that is a failure."""

import os

import pytest

from jobs.settings import JobsSettings
from jobs.spark import missing_for_spark

SPARK = JobsSettings(spark_master="local[2]")

_missing = missing_for_spark()
needs_spark = pytest.mark.skipif(
    _missing is not None and os.environ.get("CI") != "true", reason=_missing or "Spark can run here"
)
