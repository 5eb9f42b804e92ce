"""Finds the rows of a feature view for past decisions: the valid row, the one known then, the one that was served.

The offline store keeps the build before the one in place, with the rows that the newer build replaced. The name of a
build says when its rows became known; their `created_timestamp` is a midnight and does not.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from artefacts.build_record import Build, is_build
from jobs.offline_store.builds import kept_builds
from jobs.offline_store.latest_rows import ViewSource, declared, quoted, rows_of, run_query
from jobs.offline_store.offline_features import StoredRows
from jobs.offline_store.view_files import parts
from jobs.times import unix_us

TIMESTAMP = pa.timestamp("us", tz="UTC")


class RowChoice(Enum):
    """Which row of a key to take: a condition, of which the latest row counts; and an order of its versions.

    `__as_of` is the time of the decision, `__served` the event time of the served row, `__known` the time when a row
    became known; null means that it was always known.
    """

    VALID = ("{event} <= __as_of", "{created} DESC NULLS LAST, hash({columns})")
    """The row of the point-in-time join, by all that the build in place knows."""

    KNOWN = ("{event} <= __as_of AND coalesce(__known <= __as_of, true)", "__known DESC NULLS LAST")
    """The same, from rows that were known at the decision."""

    SERVED = ("{event} = __served", "coalesce(__known <= __as_of, true) DESC, __known DESC NULLS LAST")
    """The row with the served event time, in its latest version at the decision."""

    SERVED_FIRST = ("{event} = __served", "__known NULLS FIRST")
    """The row with the served event time, in its first version."""


@dataclass(frozen=True)
class Decisions:
    """n decisions; times in microseconds since 1970.

    keys: a column per join key, or more.
    as_of_us: int64 (n,).
    served_us: float64 (n,), event time of the served row; NaN for none.
    """

    keys: pa.Table
    as_of_us: NDArray[np.int64]
    served_us: NDArray[np.float64]

    def table(self, join_keys: Sequence[str]) -> pa.Table:
        """One numbered row for each decision, with these keys, for a query."""
        served = pa.array(np.nan_to_num(self.served_us).astype(np.int64), mask=np.isnan(self.served_us))
        return pa.table(
            {
                "__n": np.arange(len(self.as_of_us)),
                **{f"__key_{n}": self.keys[name] for n, name in enumerate(join_keys)},
                "__as_of": pa.array(self.as_of_us).cast(TIMESTAMP),
                "__served": served.cast(TIMESTAMP),
            }
        )


@dataclass(frozen=True)
class PastRows:
    """One row for each of n decisions; times are float64 (n,), microseconds since 1970, NaN for none.

    known_us: when the row became known.
    made_by: float64 (n,), a number for the code that built the row; NaN if that is not recorded.
    """

    rows: StoredRows
    event_us: NDArray[np.float64]
    created_us: NDArray[np.float64]
    known_us: NDArray[np.float64]
    made_by: NDArray[np.float64]


class ViewHistory:
    """The rows of a view in the build in place and in the builds that are kept beside it.

    Args:
        source: the view in one build, see `view_files.resolved`.
    """

    def __init__(self, source: ViewSource) -> None:
        self._source = source
        view, pattern = parts(source.path)
        build = next((folder for folder in (view, *view.parents) if is_build(folder)), None)
        kept = kept_builds(build) if build else {}
        self._current = source.files()
        self._files = list(self._current)
        for other in kept:
            if build and other != build:
                self._files += sorted(map(str, (other / view.relative_to(build)).glob(pattern)))
        self._written = _written(self._files, source.name, kept)
        names = {name for described in kept.values() for name in (*described.history, described.name)}
        self._built = sorted(at for at in map(_time_of, names) if at)
        self._built_us = np.array([unix_us(at) for at in self._built])
        self._periods = list(kept[build].partitions.get(source.name, {})) if build in kept else []

    def holds(self, event_us: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Bool (n,): the build in place still has the partition of this time. Old snapshots are dropped."""
        held = np.ones(event_us.shape, dtype=bool)
        for at in np.unique(event_us[np.isfinite(event_us)]) if self._periods else ():
            day = datetime.fromtimestamp(at / 1e6, UTC).date().isoformat()
            held[event_us == at] = any(day.startswith(period) for period in self._periods)
        return held

    def in_place(self, as_of_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """When the build was made that was in place at these times, float64 (n,); NaN before the oldest kept build."""
        places = np.searchsorted(self._built_us, as_of_us, side="right")
        return np.concatenate([[np.nan], self._built_us.astype(np.float64)])[places]

    def rows(
        self, connection: duckdb.DuckDBPyConnection, which: RowChoice, decisions: Decisions, fields: Sequence[str]
    ) -> PastRows:
        """The chosen row of each decision's key, with the named fields; null if there is none.

        Raises:
            JobError: files cannot be read.
        """
        n = len(decisions.as_of_us)
        connection.register("decisions", decisions.table(self._source.join_keys))
        connection.register("written", self._written)
        connection.register("built", pa.table({"at": pa.array(self._built, TIMESTAMP)}))
        found = run_query(connection, [self._source], self._query(which), [])
        positions = np.full(n, -1)
        positions[found["__n"].to_numpy()] = np.arange(found.num_rows)
        taken = found.take(pa.array(positions, mask=positions < 0)).combine_chunks()

        def numbers(column: str) -> NDArray[np.float64]:
            values: NDArray[np.float64] = taken[column].to_numpy().astype(np.float64)
            return values

        return PastRows(
            rows=StoredRows(
                taken["__event_time"].combine_chunks(), {field: taken[field].combine_chunks() for field in fields}
            ),
            event_us=numbers("__event_us"),
            created_us=numbers("__created_us"),
            known_us=numbers("__known_us"),
            made_by=numbers("__made_by"),
        )

    def _query(self, which: RowChoice) -> str:
        source = self._source
        event = quoted(source.timestamp_field)
        keys = [f"__key_{n}" for n in range(len(source.join_keys))]
        key, asked = ", ".join(map(quoted, source.join_keys)), ", ".join(keys)
        same_key = " AND ".join(f"{quoted(name)} = {of}" for name, of in zip(source.join_keys, keys, strict=True))
        created = quoted(source.created_timestamp_field) if source.created_timestamp_field else "NULL::TIMESTAMPTZ"
        columns = ", ".join(map(quoted, source.columns))
        condition, order = (part.format(event=event, created=created, columns=columns) for part in which.value)
        files = self._current if which is RowChoice.VALID else self._files
        # A build stamps its rows with the midnight before it, or not. If its name is of another day, its clock was set.
        # No row was known before the first build after its event time, even if a later build wrote it again.
        return f"""
            WITH seen AS NOT MATERIALIZED (
                SELECT rows.*, written.made_by AS __made_by, greatest({created}, CASE
                    WHEN coalesce(written.since >= {created} AND written.since < {created} + INTERVAL 1 DAY, true)
                    THEN written.since
                END, CASE
                    WHEN coalesce(built.at < {created} + INTERVAL 1 DAY, true) AND written.made_by IS NOT NULL
                    THEN built.at
                END) AS __known
                FROM {rows_of(files, "__file")} AS rows JOIN written ON __file = written.file
                ASOF LEFT JOIN built ON rows.{event} <= built.at
                WHERE ({key}) IN (SELECT {asked} FROM decisions)
            ), newest AS (
                SELECT __n, {asked}, __as_of, __served, max({event}) AS __at
                FROM seen JOIN decisions ON {same_key} AND {condition} GROUP BY ALL
            )
            SELECT __n, {event}::TIMESTAMPTZ AS __event_time, epoch_us({event}) AS __event_us,
                epoch_us({created}) AS __created_us, epoch_us(__known) AS __known_us, __made_by, {declared(source)}
            FROM seen JOIN newest ON {same_key} AND {event} = __at AND {condition}
            QUALIFY row_number() OVER (PARTITION BY __n ORDER BY {order}) = 1
            ORDER BY __n
        """  # noqa: S608  # names are quoted


def _written(files: Sequence[str], view: str, kept: Mapping[Path, Build]) -> pa.Table:
    """When and by what code each file was written: `file`, `since` and `made_by`, both null if that is not recorded.

    What was served before the oldest build is not known, so for its rows only their own time stamps count.
    """
    codes = {definition: code for code, definition in enumerate(sorted({b.definition for b in kept.values()}))}
    oldest = next((folder.name for folder in kept), "")
    since: list[datetime | None] = []
    made_by: list[int | None] = []
    for file in files:
        build = next((folder for folder in Path(file).parents if folder in kept), None)
        partition = kept[build].partitions.get(view, {}).get(Path(file).parent.name) if build else None
        since.append(_time_of(partition["build"]) if partition and partition["build"] > oldest else None)
        made_by.append(codes[kept[build].definition] if build and partition else None)
    return pa.table(
        {"file": list(files), "since": pa.array(since, TIMESTAMP), "made_by": pa.array(made_by, pa.float64())}
    )


def _time_of(build: str) -> datetime | None:
    with suppress(ValueError):
        return datetime.strptime(build, "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    return None
