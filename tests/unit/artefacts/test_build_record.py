"""A build's record, as this version and earlier ones wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest

from artefacts.build_record import Build

EARLIER: dict[str, Any] = {
    "name": "20240610T093000000000",
    "source": "CDNOW",
    "observed_until": "2024-06-10T00:00:00+00:00",
    "newest_snapshot": "2024-06-10T00:00:00+00:00",
    "rows": {"customer_lifetime": 2},
    "engine": "duckdb 1.5",
    "definition": "d",
    "streamed_batches": [],
    "partitions": {"customer_lifetime": {"2024-06": {"rows": 2, "build": "20240610T093000000000"}}},
    "days": {"19880": {"orders": 2, "hash": "-17"}},
}


def record(folder: Path, content: object) -> Path:
    (folder / "build.json").write_text(json.dumps(content))
    return folder


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    build = Build.read(record(tmp_path, EARLIER))

    assert {"19880": {"events": 2, "hash": "-17"}} == build.days
    assert ("", {}, "CDNOW") == (build.streamed_from, build.files, build.source)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    build = Build.read(record(tmp_path, EARLIER))
    build.write(tmp_path)

    assert build == Build.read(tmp_path)


@pytest.mark.parametrize(
    "content", [[], {}, EARLIER | {"days": []}, EARLIER | {"days": {"1": {"orders": 2}}}, EARLIER | {"other": 1}]
)
def test_what_is_no_record_of_a_build_is_told_by_the_errors_that_are_promised(tmp_path: Path, content: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Build.read(record(tmp_path, content))
