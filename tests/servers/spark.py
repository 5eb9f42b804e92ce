"""Tests that need Spark: skipped, with the reason, where it cannot run; in CI that is a failure."""

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

import pytest

from jobs.settings import JobsSettings
from jobs.spark import missing_for_spark, spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Test = TypeVar("Test", bound=Callable[..., object])
SPARK = JobsSettings(spark_master="local[2]")

_UNCLOSED = "unclosed <socket"  # py4j leaves its sockets to the garbage collector
_missing = missing_for_spark()
_skip = pytest.mark.skipif(_missing is not None and os.environ.get("CI") != "true", reason=_missing or "")


def needs_spark(test: Test) -> Test:
    """Mark a test."""
    quiet = pytest.mark.filterwarnings(f"ignore:{_UNCLOSED}:ResourceWarning")
    return cast(Test, quiet(_skip(test)))


@contextmanager
def session_for_tests() -> Iterator["SparkSession"]:
    """One session for the jobs of a module; starting it takes longer than they do."""
    with spark_session(SPARK, "tests") as session:
        yield session
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _UNCLOSED, ResourceWarning)
        gc.collect()
