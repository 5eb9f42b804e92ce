"""Whole numbers as keys, and keys of two values, through the whole command: one department, then the household."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from artefacts.addresses import Artefacts
from artefacts.build_files import damage
from jobs.__main__ import main
from jobs.feature_store import apply
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from tests.integration.jobs.audited_households import MADE, SETTINGS, build, environment_of, made_use_case
from tests.models.households import write_households

HOUSEHOLD = 7
Row = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """Households with a build and its rows in Redis; `root/data` has files that were made of them."""

    root: Path
    artefacts: Artefacts

    @property
    def data(self) -> Path:
        return self.root / "data"

    def rows(self) -> dict[str, list[Row]]:
        """All rows of the build in place, by view, and of the files."""
        current = self.artefacts.offline_store / "current"
        views = sorted(each for each in current.iterdir() if each.is_dir())
        found = {view.name: [file for file in sorted(view.rglob("*.parquet"))] for view in views}
        found |= {file.name: [file] for file in sorted(self.data.glob("*.parquet"))}
        rows = {
            name: [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]
            for name, files in found.items()
        }
        for name, opened in (("list.csv", open), ("list.csv.gz", gzip.open)):
            with opened(self.data / name, "rt") as lines:
                rows[name] = pd.read_csv(lines, sep=";").to_dict("records")
        return rows

    def online(self) -> set[tuple[Any, ...]]:
        """The keys that are in Redis."""
        from feast.infra.key_encoding_utils import deserialize_entity_key

        with redis.Redis.from_url(str(self.artefacts.redis_url)) as client:
            stored = [key for key in client.scan_iter(b"*audited") if key[1:4] == bytes(3)]  # begins with a number
        keys = [deserialize_entity_key(key.removesuffix(b"audited")) for key in stored]
        return {
            tuple(value.int64_val if value.HasField("int64_val") else value.string_val for value in key.entity_values)
            for key in keys
        }

    def erase(self, key: str, *more: str) -> int:
        """`make erase KEY=…`; its exit code."""
        return main(["erase", "--key", key, "--out", str(self.root / "receipts"), "--also", str(self.data), *more])

    def receipt(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(max((self.root / "receipts").glob("*.json")).read_text())
        return told


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Panel]:
    try:
        artefacts = made_use_case(tmp_path, embedded_redis.start(root=tmp_path))
        purchases = write_households(tmp_path / "data", 12, days=120)
        build(artefacts, tmp_path / "data", MADE)
        apply(artefacts)
        materialize(artefacts, MADE, settings=SETTINGS)
        for name, value in environment_of(artefacts).items():
            monkeypatch.setenv(name, value)
        some = purchases[["household_id", "department"]].dropna().drop_duplicates()
        for name in ("list.csv", "list.csv.gz"):
            some.to_csv(tmp_path / "data" / name, sep=";", index=False)
        floats = pa.table({"household_id": [float(HOUSEHOLD), None, 8.0], "department": ["TOYS", "TOYS", "TOYS"]})
        pq.write_table(floats, tmp_path / "data" / "floats.parquet")
        yield Panel(tmp_path, artefacts)
    finally:
        embedded_redis.stop(root=tmp_path)


def is_its(row: Row) -> bool:
    return bool(row.get("household_id") == HOUSEHOLD)


def without(rows: dict[str, list[Row]], department: str | None = None) -> dict[str, list[Row]]:
    """The rows that stay: of other households, and, where one department is erased, of the others."""
    return {
        name: [
            row
            for row in found
            if not is_its(row) or (department is not None and row.get("department", "") != department)
        ]
        for name, found in rows.items()
    }


def as_text(rows: dict[str, list[Row]]) -> dict[str, list[str]]:
    """So that null equals null."""
    return {name: [repr(sorted(row.items(), key=str)) for row in found] for name, found in rows.items()}


def test_one_department_goes_and_then_the_household_and_nobody_else(
    panel: Panel, capsys: pytest.CaptureFixture[str]
) -> None:
    before, online = panel.rows(), panel.online()
    department = min(key[0] for key in online if len(key) == 2 and key[1] == HOUSEHOLD)
    assert (HOUSEHOLD,) in online
    assert 2 == panel.erase("7")
    assert "name the join keys, as department=…,household_id=…" in capsys.readouterr().err

    assert 0 == panel.erase(f"household_id={HOUSEHOLD},department={department}")

    assert as_text(without(before, department)) == as_text(panel.rows())
    assert online - {(department, HOUSEHOLD)} == panel.online()
    assert {"keys": 1} == panel.receipt()["erased"]["Redis"]

    assert 0 == panel.erase(f"household_id={HOUSEHOLD}")

    assert as_text(without(before)) == as_text(panel.rows())
    others = {key for key in online if HOUSEHOLD not in key}
    assert others == panel.online()
    told = panel.receipt()
    assert ([], []) == (told["left"], told["not_read"])
    assert {"list.csv", "list.csv.gz", "floats.parquet"} < {Path(file).name for file in told["erased"]["files"]}
    assert damage(panel.artefacts.offline_store / "current") is None

    write_households(panel.data, 12, days=120)  # delivered again
    build(panel.artefacts, panel.data, MADE + timedelta(hours=1))
    materialize(panel.artefacts, MADE + timedelta(hours=1), full=True, settings=SETTINGS)

    assert not [
        row for name, rows in panel.rows().items() if name.startswith("household_") for row in rows if is_its(row)
    ]
    assert others == panel.online()
