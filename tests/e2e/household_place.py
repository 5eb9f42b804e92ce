"""Made-up households with features, registry and models of their own; the use cases on them, by the commands."""

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.loop import SOURCE, place_environment
from tests.models.households import write_households
from use_cases.household_spend.source import Source

CASES = ("use_cases/household_spend", "use_cases/next_department", "tests/use_cases/coupon_purchase")


@dataclass(frozen=True)
class Place:
    """Purchases, features, registry and models below one folder; each use case with its own pin.

    end: of the purchases.
    """

    environment: dict[str, str]
    root: Path
    end: datetime

    def of(self, case: str) -> dict[str, str]:
        """The variables of one use case."""
        return {"USE_CASE": case, "MODEL_TAG_PATH": str(self.root / Path(case).name / "model_tag")}

    def run(self, *arguments: str, case: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=SOURCE,
            env={**self.environment, **self.of(case)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in codes, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def train(self, case: str) -> None:
        """Train, promote and import a model, once."""
        if (self.root / Path(case).name / "model_tag").exists():
            return
        said = self.run("training", "train", case=case, codes=(0, 4))
        if (
            "version 1 is champion" not in said
        ):  # the gate decides by how good it is, which made-up households cannot tell
            self.run("training", "promote", "--version=1", "--force", "--reason=made-up households", case=case)
        self.run("training", "import-model", case=case)


def household_place(root: Path) -> Place:
    """Make purchases of 1,600 households until today, their features, and the registry."""
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    write_households(root / "data", households=1600, end=end)
    _make_unusual(Source(root / "data"))
    made = Place(place_environment(root, HOUSEHOLD_DATA_DIR=root / "data"), root, end)
    made.run("jobs", "features", case=CASES[0])
    made.run("jobs", "apply", case=CASES[1])  # the same repository
    return made


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
