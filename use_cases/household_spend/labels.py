"""Targets that come from the purchases after a moment: how much, and where."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
import pandas as pd

from artefacts.cutoffs import CutoffSettings
from training.data.request_times import time_of_day_sql

from .features import STAPLES
from .source import Source

SPEND = "coalesce(sum(cents), 0) / 100"
"""SQL: money in the label window."""
DEPARTMENTS = ("DRUG GM", "MEAT", "FUEL", "PRODUCE", "MEAT-PCKGD", "DELI")
"""The frequent ones beside groceries."""
OTHER, NONE = "OTHER", "NONE"
DEPARTMENT = f"""
    CASE WHEN count(*) FILTER (judged) = 0 THEN '{NONE}'
    WHEN arg_max(department, (cents, department)) FILTER (judged) IN {DEPARTMENTS}
    THEN arg_max(department, (cents, department)) FILTER (judged) ELSE '{OTHER}' END
"""
"""SQL: department with the most money in the label window, beside groceries; of equal ones the last by name."""


@dataclass(frozen=True)
class PurchaseLabels:
    """Households with a target from their purchases; the `LabelSource` of use cases on purchases.

    target: name of the column.
    aggregate: SQL over one household's departments: `department`, `cents` in the label window, and `judged`: money was
        spent there, and it is another department than `STAPLES`. Without a purchase one row with nulls.
    """

    source: Source
    target: str
    aggregate: str

    def first_event(self) -> datetime:
        """Time of the first purchase, UTC."""
        return self.source.description().first

    def observed_until(self) -> datetime:
        """The time, UTC, before which every purchase is known."""
        return self.source.description().observed_until

    def rows(self, cutoff: datetime, splits: CutoffSettings, seed: int) -> pd.DataFrame:
        """Every household with a purchase before its request time."""
        cutoff_us = round(cutoff.timestamp()) * 1_000_000
        drawn = time_of_day_sql(splits.hours, f"{seed}|{cutoff_us}|", "household_id::VARCHAR")
        with self.source.opened() as connection:
            connection.execute(
                "CREATE TEMP TABLE asked AS SELECT row_number() OVER (ORDER BY household_id) AS place, household_id, "  # noqa: S608  # numbers
                f"make_timestamptz({cutoff_us} + {drawn}) AS asked_at FROM purchases GROUP BY household_id "
                f"HAVING min(epoch_us(bought_at)) < {cutoff_us} + {drawn}"
            )
            found = _labelled(connection, splits.label_days, self.aggregate)
        times = found["asked_at"].astype("datetime64[us, UTC]")
        return pd.DataFrame(
            {"household_id": found["household_id"], "event_timestamp": times, self.target: found["label"]}
        )


def purchase_labels(target: str, aggregate: str) -> Callable[[Mapping[str, str]], PurchaseLabels]:
    """Environment variables → the source of such a target."""
    return lambda environ: PurchaseLabels(Source.of(environ), target, aggregate)


def purchase_outcomes(aggregate: str) -> Callable[[pd.DataFrame, Mapping[str, str], int], pd.DataFrame]:
    """Make the `outcomes` of a use case on purchases, from the aggregate of its labels."""

    def outcomes(entities: pd.DataFrame, environ: Mapping[str, str], days: int) -> pd.DataFrame:
        source = Source.of(environ)
        asked = pd.DataFrame(
            {
                "place": np.arange(len(entities)),
                "household_id": entities["household_id"].to_numpy(dtype=np.int64),
                "asked_at": entities["event_timestamp"].to_numpy(),
            }
        )
        asked["asked_at"] = pd.to_datetime(asked["asked_at"], utc=True)
        with source.opened() as connection:
            connection.register("asked", asked)
            found = _labelled(connection, days, aggregate)
        known = asked["asked_at"] + pd.Timedelta(days=days) <= source.description().observed_until
        label = found["label"].convert_dtypes(convert_integer=False).where(known.to_numpy())
        return entities.assign(label=label.array)

    return outcomes


def _labelled(connection: duckdb.DuckDBPyConnection, days: int, aggregate: str) -> pd.DataFrame:
    """The rows of `asked` (place, household_id, asked_at) in the order of their place, with their `label`."""
    found: pd.DataFrame = connection.execute(
        "WITH bought AS (SELECT place, department, sum(spend_cents) AS cents, "  # noqa: S608  # SQL of use cases
        f"coalesce(cents > 0 AND department <> '{STAPLES}', false) AS judged "
        "FROM asked LEFT JOIN purchases ON asked.household_id = purchases.household_id "
        f"AND bought_at >= asked_at AND bought_at < asked_at + to_hours({24 * days}) GROUP BY place, department), "
        f"answers AS (SELECT place, {aggregate} AS label FROM bought GROUP BY place) "
        "SELECT asked.household_id AS household_id, asked_at, label FROM asked JOIN answers USING (place) "
        "ORDER BY place"
    ).df()
    return found
