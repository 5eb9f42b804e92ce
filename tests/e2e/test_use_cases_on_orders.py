"""Churn's neighbours on the same orders: trained, imported and scored by the commands, side by side in one place."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from tests.e2e.place import Place
from tests.loop import place_environment

CHURN = "training/churn"
CASES = ("use_cases/customer_spend", "use_cases/order_count")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("use_cases")
    environment = {
        **place_environment(root, ORDERS_PATH=root / "orders.parquet", STREAMED_ORDERS_DIR=root / "streamed"),
        "TRAINING_MAX_CALIBRATION_ERROR": "5",  # a few hundred customers cannot tell less
    }
    made = Place(environment, root)
    made.run("training", "data", "--synthetic", "1500", case=CHURN)
    made.run("jobs", "features", case=CHURN)
    made.run("jobs", "apply", case=CHURN)
    return made


@pytest.fixture(scope="module", params=CASES, ids=lambda case: Path(case).name)
def trained(request: pytest.FixtureRequest, place: Place) -> str:
    case = str(request.param)
    said = place.run("training", "train", case=case)
    assert f"{Path(case).name} version 1 is champion" in said
    place.run("training", "import-model", case=case)
    return case


def scored(place: Place, case: str) -> ds.Dataset:
    out = place.root / Path(case).name / "predictions"
    place.run("jobs", "score-batch", f"--out={out}", case=case)
    return ds.dataset(out, format="parquet")


def column(rows: ds.Dataset, name: str) -> Sequence[object]:
    found: Sequence[object] = rows.to_table([name])[name].to_pylist()
    return found


def test_both_are_trained_imported_and_scored_and_answer_in_their_own_words(place: Place, trained: str) -> None:
    rows = scored(place, trained)

    assert place.pin(trained).read_text().startswith(f"{Path(trained).name}:")
    if trained == CASES[0]:
        assert all(isinstance(spend, float) and spend >= 0 for spend in column(rows, "spend_90d"))
    else:
        assert {"0"} < set(column(rows, "orders_90d")) <= {"0", "1", "2-3", "4+"}
    assert {"ok"} == set(column(rows, "status"))
    assert not place.pin(CHURN).exists()
