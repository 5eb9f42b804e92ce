"""Use cases on households: whole numbers and two keys, categories, nulls and a request's value, by the commands."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.e2e.household_place import CASES, Place, household_place
from tests.models.households import END
from tests.servers.spark import needs_spark
from use_cases.household_spend.labels import DEPARTMENTS, NONE, OTHER
from use_cases.household_spend.source import Source


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return household_place(tmp_path_factory.mktemp("households"), households=1600, change=_make_unusual)


def _make_unusual(source: Source) -> None:
    """Give some households the largest, a very large and a negative number, and texts that are empty or not ASCII."""
    purchases, households = pq.read_table(source.purchases), pq.read_table(source.households)
    ids = sorted(set(purchases["household_id"].to_pylist()))
    others = dict(zip(ids[-4:], (2**63 - 1, 2**53 + 1, -7, 0), strict=True))
    texts = {"TOYS": "Spielzeug & Café ☕", "Married": "", "Renter": "a'b\"c\\d"}

    def changed(table: pa.Table) -> pa.Table:
        for at, field in enumerate(table.schema):
            values: Any = others if field.name == "household_id" else texts if pa.types.is_string(field.type) else {}
            if values:
                column = [values.get(value, value) for value in table[field.name].to_pylist()]
                table = table.set_column(at, field, pa.array(column, field.type))
        return table

    pq.write_table(changed(purchases), source.purchases)
    pq.write_table(changed(households), source.households)


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, place: Place) -> str:
    case = str(request.param)
    place.train(case)
    return case


def test_each_is_trained_imported_and_scored_and_answers_in_its_own_words(place: Place, trained: str) -> None:
    name = Path(trained).name
    out, asked = place.root / name / "predictions", place.root / "pairs.parquet"
    pairs = {"household_id": [1, 2, 3], "department": ["MEAT", "DELI", "NOWHERE"], "coupon_value": [0.5, 2.0, 3.0]}
    pq.write_table(pa.table(pairs), asked)
    entities = [f"--entities={asked}"] if name == "coupon_purchase" else []

    place.run("jobs", "score-batch", f"--out={out}", f"--as-of={END:%Y-%m-%dT%H:%M}", *entities, case=trained)

    rows = ds.dataset(out, format="parquet").to_table()
    assert pa.int64() == rows.schema.field("household_id").type
    found = {column: rows[column].to_pylist() for column in rows.column_names}
    if name == "household_spend":
        assert all(isinstance(spend, float) and spend >= 0 for spend in found["spend_28d"])
        assert {"ok"} == set(found["status"]), "nulls that the model takes degrade nothing"
    elif name == "next_department":
        assert {NONE} < set(found["next_department"]) <= {*DEPARTMENTS, OTHER, NONE}
    else:
        assert pairs["department"] == found["department"]
        assert all(0 <= probability <= 1 for probability in found["buys_probability"])


SEEDS = ("0", "4242")
KNOWN_AT = END - timedelta(hours=16.5)


def _asked(place: Place, case: str) -> Path:
    """All households, each with its most frequent department where that is a key, and some of nobody."""
    bought = pd.read_parquet(Source(place.root / "data").purchases, columns=["household_id", "department"])
    if case == CASES[2]:
        pairs = bought.dropna().groupby("household_id")["department"].agg(lambda found: found.mode()[0]).reset_index()
        nobody = pd.DataFrame({"household_id": -np.arange(100, 125), "department": "MEAT"})
        asked = pd.concat([pairs, nobody], ignore_index=True)
        asked["coupon_value"] = np.arange(len(asked)) % 7 / 4
    else:
        asked = pd.DataFrame({"household_id": [*sorted(set(bought["household_id"])), *range(-124, -99)]})
    file = place.root / f"{Path(case).name}.asked.parquet"
    asked.to_parquet(file, index=False)
    return file


@needs_spark
def test_every_plane_sees_the_same_values_and_gives_the_same_answers_under_any_hash_seed(
    place: Place, trained: str
) -> None:
    """Join of training = Feast's SDK = compiled reader = batch = HTTP = `/invocations`, and once Spark."""
    asked = _asked(place, trained)
    for seed in SEEDS if trained == CASES[0] else SEEDS[:1]:
        seeded = replace(place, environment={**place.environment, "PYTHONHASHSEED": seed})
        folder = place.root / f"planes-{Path(trained).name}-{seed}"
        arguments = [f"--folder={folder}", f"--asked={asked}", f"--at={KNOWN_AT.isoformat()}"]
        spark = ["--spark"] if seed == SEEDS[0] else []
        said = seeded.run("tests.household_planes", *arguments, *spark, case=trained)
        found = json.loads(next(line for line in said.splitlines() if line.startswith('{"rows"')))

        assert found["rows"] >= 1500
        shifted = found["features"].pop("a day off")
        assert {"join": [], "sdk": [], "compiled": [], "batch": []} == found["features"]
        assert "household_windowed__spend_28d" in shifted, "a check that cannot fail proves nothing"
        assert {"batch": [], **({"spark": []} if spark else {})} == found["differing"]
        assert {found["rows"]} == set(found["rows of planes"].values())
        assert found["invoked"] <= 1e-6
        unknown = "unknown_household_department" if trained == CASES[2] else "unknown_household"
        assert 25 <= found["statuses"][unknown]
        assert found["nulls"] > 100
