"""A table of customers as a shop would export it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.tables.init import Asked, Written, write_use_case


def customers(rows: int = 1000, seed: int = 1) -> pd.DataFrame:
    """Texts, nulls, whole numbers, a date, and a target that depends on some of them."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "customer_id": random.permutation(np.arange(10_000, 10_000 + rows)),
            "at": pd.Timestamp("2025-01-01", tz="UTC") + pd.to_timedelta(np.sort(random.integers(0, 300, rows)), "D"),
            "plan": random.choice(["basic", "plus", "pro"], rows),
            "city": random.choice(np.array(["Rome", "Oslo", None], dtype=object), rows),
            "tenure": random.integers(0, 72, rows),
            "charge": np.where(random.random(rows) < 0.1, np.nan, random.gamma(4, 15, rows).round(2)),
        }
    )
    odds = (frame["plan"] == "basic") * 1.2 - frame["tenure"] * 0.04 + 0.5
    frame["left"] = np.where(random.random(rows) < 1 / (1 + np.exp(-odds)), "yes", "no")
    return frame


def written(root: Path, frame: pd.DataFrame, kind: str = "csv", **asked: Any) -> Written:
    """A use case `shop` for a table that was written as such a file."""
    file = root / f"customers.{kind}"
    if kind == "csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file, index=False, coerce_timestamps="us")
    given = {"name": "shop", "table": file.name, "keys": ("customer_id",), "time": "at", "target": "left"} | asked
    return write_use_case(Asked(**given), {}, root)
