"""Parity on typed inputs: join of training = Feast's SDK = compiled reader = batch = HTTP = `/invocations`."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.household_planes import Asked, Planes, compare
from tests.integration.jobs.audited_households import MADE, Households


def test_every_plane_sees_the_same_arrays_ages_categories_and_nulls(panel: Households, tmp_path: Path) -> None:
    panel.fill()
    pairs = [*panel.pairs, (-5, "MEAT"), (2**63 - 1, "ÄÖ")]
    asked = {
        "household_id": [household for household, _ in pairs],
        "department": [name for _, name in pairs],
        "coupon_value": [n % 7 / 4 for n in range(len(pairs))],
    }
    pq.write_table(pa.table(asked), tmp_path / "asked.parquet")
    at = MADE + timedelta(hours=3)

    found = compare(
        Planes(panel.artefacts, panel.model, Asked.read(tmp_path / "asked.parquet", panel.model), at, tmp_path),
        spark=False,
    )

    shifted = found["features"].pop("a day off")
    assert {"join": [], "sdk": [], "compiled": [], "batch": []} == found["features"]
    assert "household_windowed__spend_28d" in shifted, "a check that cannot fail proves nothing"
    assert ({"batch": []}, {len(pairs)}) == (found["differing"], set(found["rows of planes"].values()))
    assert found["invoked"] <= 1e-6
    assert found["nulls"] > 100
