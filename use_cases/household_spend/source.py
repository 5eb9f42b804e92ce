"""Where the purchases and the demographics lie, and what the purchases' file says of itself.

`purchases.parquet`: household_id, basket_id, store_id (int64), department (text or null), bought_at (UTC), and in cents
spend_cents, discount_cents, coupon_cents (int64); one row for each basket and department.
`households.parquet`: household_id and the demographics, as published; a third of the households have a row.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from artefacts.addresses import PROJECT_ROOT
from artefacts.errors import SourceError

VARIABLE = "HOUSEHOLD_DATA_DIR"
DESCRIPTION = b"purchases"
"""Key of the description in the metadata of the purchases' file."""


@dataclass(frozen=True)
class Description:
    """What is told of the purchases beside them.

    shift_days: whole days by which every date was moved.
    first: time of the first purchase.
    observed_until: every purchase before this time is in the file.
    """

    shift_days: int
    first: datetime
    observed_until: datetime

    def to_json(self) -> str:
        """As it is stored."""
        times = {"first": self.first.isoformat(), "observed_until": self.observed_until.isoformat()}
        return json.dumps({"shift_days": self.shift_days, **times})


@dataclass(frozen=True)
class Source:
    """The two files, below the folder that `HOUSEHOLD_DATA_DIR` names, or the use case's own in `var/`."""

    folder: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Source":
        """Find the folder."""
        return cls(Path(environ.get(VARIABLE) or PROJECT_ROOT / "var" / "use_cases" / "household_spend" / "data"))

    @property
    def purchases(self) -> Path:
        """The purchases' file."""
        return self.folder / "purchases.parquet"

    @property
    def households(self) -> Path:
        """The file of demographics."""
        return self.folder / "households.parquet"

    def description(self) -> Description:
        """Read what the purchases' file says of itself.

        Raises:
            SourceError: there is no such file, or it says nothing.
        """
        try:
            found: dict[str, Any] = json.loads(pq.read_schema(self.purchases).metadata[DESCRIPTION])
        except FileNotFoundError:
            raise SourceError(f"{self.purchases}: no purchases yet; run `make data` first") from None
        except (OSError, KeyError, TypeError, ValueError):
            raise SourceError(f"{self.purchases} cannot be used; remove it and run `make data`") from None
        first, until = (datetime.fromisoformat(found[name]) for name in ("first", "observed_until"))
        return Description(int(found["shift_days"]), first, until)

    @contextmanager
    def opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """DuckDB with the views `purchases` and `households`, times in UTC.

        Raises:
            SourceError: as `description`.
        """
        self.description()
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.read_parquet(str(self.purchases)).create_view("purchases")
            connection.read_parquet(str(self.households)).create_view("households")
            yield connection
