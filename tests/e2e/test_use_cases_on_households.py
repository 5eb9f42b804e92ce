"""Use cases on households: whole numbers and two keys, categories, nulls and a request's value, by the commands."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.e2e.household_place import CASES, Households
from tests.servers.spark import needs_spark
from use_cases.household_spend.labels import DEPARTMENTS, NONE, OTHER
from use_cases.household_spend.source import Source


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, households: Households) -> str:
    case = str(request.param)
    households.train(case)
    return case


def test_each_is_trained_imported_and_scored_and_answers_in_its_own_words(households: Households, trained: str) -> None:
    name = Path(trained).name
    out, asked = households.root / name / "predictions", households.root / "pairs.parquet"
    pairs = {"household_id": [1, 2, 3], "department": ["MEAT", "DELI", "NOWHERE"], "coupon_value": [0.5, 2.0, 3.0]}
    pq.write_table(pa.table(pairs), asked)
    entities = [f"--entities={asked}"] if name == "coupon_purchase" else []

    households.run(
        "jobs", "score-batch", f"--out={out}", f"--as-of={households.end:%Y-%m-%dT%H:%M}", *entities, case=trained
    )

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
KNOWN_FOR = timedelta(hours=16.5)


def _asked(households: Households, case: str) -> Path:
    """All households, each with its most frequent department where that is a key, and some of nobody."""
    bought = pd.read_parquet(Source(households.root / "data").purchases, columns=["household_id", "department"])
    if case == CASES[2]:
        pairs = bought.dropna().groupby("household_id")["department"].agg(lambda found: found.mode()[0]).reset_index()
        nobody = pd.DataFrame({"household_id": -np.arange(100, 125), "department": "MEAT"})
        asked = pd.concat([pairs, nobody], ignore_index=True)
        asked["coupon_value"] = np.arange(len(asked)) % 7 / 4
    else:
        asked = pd.DataFrame({"household_id": [*sorted(set(bought["household_id"])), *range(-124, -99)]})
    file = households.root / f"{Path(case).name}.asked.parquet"
    asked.to_parquet(file, index=False)
    return file


@needs_spark
def test_every_plane_sees_the_same_values_and_gives_the_same_answers_under_any_hash_seed(
    households: Households, trained: str
) -> None:
    """Join of training = Feast's SDK = compiled reader = batch = HTTP = `/invocations`, and once Spark."""
    asked = _asked(households, trained)
    for seed in SEEDS if trained == CASES[0] else SEEDS[:1]:
        seeded = replace(households, environment={**households.environment, "PYTHONHASHSEED": seed})
        folder = households.root / f"planes-{Path(trained).name}-{seed}"
        arguments = [f"--folder={folder}", f"--asked={asked}", f"--at={(households.end - KNOWN_FOR).isoformat()}"]
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
