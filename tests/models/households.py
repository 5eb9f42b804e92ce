"""Made-up households for the use cases on The Complete Journey: ties, quiet times, and few demographics."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from use_cases.household_spend.data import PURCHASES
from use_cases.household_spend.source import DESCRIPTION, Description, Source

END = datetime(2026, 3, 1, tzinfo=UTC)
_DEPARTMENTS = ("GROCERY", "MEAT", "DELI", "DRUG GM", "FUEL", "PRODUCE", "MEAT-PCKGD", "TOYS", None)


def write_households(
    folder: Path, households: int = 40, days: int = 365, seed: int = 1, end: datetime = END
) -> pd.DataFrame:
    """Write purchases of the `days` before `end` and some demographics; returns the purchases, unsorted."""
    random = Random(seed)
    rows: list[tuple[int, int, int, str | None, datetime, int, int, int]] = []
    for household in range(1, households + 1):
        busy = random.choice([0.03, 0.2, 0.6])
        first = random.choice([0, 0, 40, days - 20])
        liked = random.choice(_DEPARTMENTS[1:7])
        for day in range(first, days):
            if random.random() > busy:
                continue
            at = end - timedelta(days=days - day) + timedelta(seconds=random.randrange(86_400))
            for basket in range(random.choice([1, 1, 2])):
                number = len(rows) * 10 + basket
                store = random.choice([3, 3, 40, 11])
                for department in dict.fromkeys([liked, *random.sample(_DEPARTMENTS, random.randint(0, 3))]):
                    spent = random.choice([0, 100, 250, random.randrange(5_000)]) * (4 if department == liked else 1)
                    off = random.choice([0, 0, random.randrange(200)])
                    coupon = off if random.random() < 0.3 else 0
                    rows.append((household, number, store, department, at, spent, off, coupon))
    purchases = pd.DataFrame(rows, columns=PURCHASES.names)
    source = Source(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described = Description(0, purchases["bought_at"].min().to_pydatetime(), end)
    schema = PURCHASES.with_metadata({DESCRIPTION: described.to_json()})
    shuffled = purchases.sample(frac=1, random_state=seed)
    pq.write_table(
        pa.Table.from_pandas(shuffled, schema=PURCHASES, preserve_index=False).cast(schema), source.purchases
    )
    told = [
        (h, random.choice(["25-34", "65+"]), "35-49K", random.choice([None, "Renter"]), "Married", "2", "2 Adults", "0")
        for h in sorted(set(purchases["household_id"]))[::3]
    ]
    names = ["household_id", "age", "income", "home_ownership", "marital_status", "household_size", "household_comp"]
    pd.DataFrame(told, columns=[*names, "kids_count"]).to_parquet(source.households, index=False)
    return purchases
