"""Use cases on households: whole numbers and two keys, categories, nulls and a request's value, by the commands."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.loop import SOURCE, bare_environment
from tests.models.households import END, write_households
from use_cases.household_spend.labels import DEPARTMENTS, NONE, OTHER

CASES = ("use_cases/household_spend", "use_cases/next_department", "tests/use_cases/coupon_purchase")


@dataclass(frozen=True)
class Place:
    """Purchases, features, registry and models below one folder; each use case with its own pin."""

    environment: dict[str, str]
    root: Path

    def run(self, *arguments: str, case: str, codes: tuple[int, ...] = (0,)) -> str:
        own = {"USE_CASE": case, "MODEL_TAG_PATH": str(self.root / Path(case).name / "model_tag")}
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=SOURCE,
            env={**self.environment, **own},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in codes, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("households")
    (root / "home").mkdir()
    write_households(root / "data", households=250)
    addresses = {
        "HOUSEHOLD_DATA_DIR": root / "data",
        "OFFLINE_STORE_DIR": root / "offline_store",
        "MATERIALIZE_RUNS_PATH": root / "materialize.jsonl",
        "FEAST_REGISTRY": root / "registry.db",
        "BENTOML_HOME": root / "bentoml",
    }
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **bare_environment(root / "home"),
        **{name: str(path) for name, path in addresses.items()},
        "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db",
        "TRAINING_BOOTSTRAP_RESAMPLES": "20",
        "TRAINING_TRAINING_CUTOFFS": "1",
    }
    made = Place(environment, root)
    made.run("jobs", "features", case=CASES[0])
    made.run("jobs", "apply", case=CASES[1])  # the same repository
    return made


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, place: Place) -> str:
    case = str(request.param)
    said = place.run("training", "train", case=case, codes=(0, 4))
    if "version 1 is champion" not in said:  # the gate decides by how good it is, which made-up households cannot tell
        place.run("training", "promote", "--version=1", "--force", "--reason=made-up households", case=case)
    place.run("training", "import-model", case=case)
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
