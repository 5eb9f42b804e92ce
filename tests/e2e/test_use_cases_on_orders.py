"""Churn's neighbours on the same orders: trained, imported and scored by the commands, side by side in one place."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from tests.loop import SOURCE, place_environment

CASES = ("customer_spend", "order_count")


@dataclass(frozen=True)
class Place:
    """Orders, features, registry and models below one folder; each use case with its own pin."""

    environment: dict[str, str]
    root: Path

    def pin(self, case: str) -> Path:
        return self.root / case / "model_tag"

    def run(self, *arguments: str, case: str = "", code: int = 0) -> str:
        own = {"USE_CASE": f"use_cases/{case}", "MODEL_TAG_PATH": str(self.pin(case))} if case else {}
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=SOURCE,
            env={**self.environment, **own},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert code == done.returncode, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("use_cases")
    environment = {
        **place_environment(root, ORDERS_PATH=root / "orders.parquet", STREAMED_ORDERS_DIR=root / "streamed"),
        "TRAINING_MAX_CALIBRATION_ERROR": "5",  # a few hundred customers cannot tell less
    }
    made = Place(environment, root)
    made.run("training", "data", "--synthetic", "1500")
    made.run("jobs", "features")
    made.run("jobs", "apply")
    return made


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, place: Place) -> str:
    case = str(request.param)
    said = place.run("training", "train", case=case)
    assert f"{case} version 1 is champion" in said
    place.run("training", "import-model", case=case)
    return case


def scored(place: Place, case: str) -> ds.Dataset:
    out = place.root / case / "predictions"
    place.run("jobs", "score-batch", f"--out={out}", case=case)
    return ds.dataset(out, format="parquet")


def column(rows: ds.Dataset, name: str) -> Sequence[object]:
    found: Sequence[object] = rows.to_table([name])[name].to_pylist()
    return found


def test_both_are_trained_imported_and_scored_and_answer_in_their_own_words(place: Place, trained: str) -> None:
    rows = scored(place, trained)

    assert place.pin(trained).read_text().startswith(f"{trained}:")
    if trained == "customer_spend":
        assert all(isinstance(spend, float) and spend >= 0 for spend in column(rows, "spend_90d"))
    else:
        assert {"0"} < set(column(rows, "orders_90d")) <= {"0", "1", "2-3", "4+"}
    assert {"ok"} == set(column(rows, "status"))
    assert not place.pin("churn").exists()
