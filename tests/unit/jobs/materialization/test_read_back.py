"""Which customers are looked for in Redis."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.materialization.redis_store import read_back as online_check
from jobs.offline_store.latest_rows import latest_rows
from tests.unit.jobs.offline_store.test_latest_rows import day, row, source, write


def test_of_many_customers_about_as_many_are_read_as_are_wanted_however_small_the_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for month in range(40):
        write(tmp_path, f"{month:02}", [row(f"{(month * 37 + n * 13) % 1000:04}", month) for n in range(25)])
    read: list[int] = []

    def counted(*arguments: Any) -> pa.Table:
        rows = latest_rows(*arguments)
        read.append(rows.num_rows)
        return rows

    monkeypatch.setattr(online_check, "latest_rows", counted)
    monkeypatch.setattr(online_check, "_FEW_ROWS", 0)
    drawn = [online_check.some_rows(source(tmp_path), day(100), most=50) for _ in range(50)]

    assert max(read) <= 100
    customers = set(pa.concat_tables(drawn)["customer_id"].to_pylist())
    assert len(customers) > 400
