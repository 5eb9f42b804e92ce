"""Made-up households with features, registry and models of their own; the use cases on them, by the commands."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.e2e.place import Place
from tests.loop import place_environment
from tests.models.households import write_households
from use_cases.household_spend.source import Source

CASES = ("use_cases/household_spend", "use_cases/next_department", "tests/use_cases/coupon_purchase")


@dataclass(frozen=True)
class Households(Place):
    """A place of made-up households.

    end: of their purchases.
    """

    end: datetime

    def train(self, case: str) -> None:
        """Train, promote and import a model, once."""
        if self.pin(case).exists():
            return
        said = self.run("training", "train", case=case, codes=(0, 4))
        if (
            "version 1 is champion" not in said
        ):  # the gate decides by how good it is, which made-up households cannot tell
            self.run("training", "promote", "--version=1", "--force", "--reason=made-up households", case=case)
        self.run("training", "import-model", case=case)


def household_place(root: Path) -> Households:
    """Make purchases of 1,600 households until today, their features, and the registry."""
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    write_households(root / "data", households=1600, end=end)
    _make_unusual(Source(root / "data"))
    made = Households(place_environment(root, HOUSEHOLD_DATA_DIR=root / "data"), root, end)
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
