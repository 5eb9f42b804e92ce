"""Splits of a table whose rows are labelled already: by time, or by entity where there is no time."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from artefacts.cutoffs import CutoffSettings
from contract.inputs import COUNTED_AT
from training.errors import DatasetError, UseCaseError
from training.row_splits.split_rows import HELD_OUT, REQUESTED_AT, Part, SplitRows

_LOG = logging.getLogger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@runtime_checkable
class LabelTable(Protocol):
    """Rows that are labelled already."""

    @property
    def keys(self) -> Sequence[str]:
        """The join keys."""
        ...

    @property
    def target(self) -> str:
        """Name of the target's column."""
        ...

    def labelled(self) -> pd.DataFrame:
        """All rows; the target of young ones may be null.

        Returns:
            The join keys, `event_timestamp` (datetime64[us, UTC], at which the features are looked up), the target's
            column, and request values; no two rows with the same keys and time.

        Raises:
            DatasetError: the table cannot be read, or its rows cannot be labels.
        """
        ...

    def whole(self) -> pd.DataFrame:
        """The same rows with all columns that the table has."""
        ...


@dataclass(frozen=True)
class TableSplits:
    """The latest rows test, those before them validate, and the rest is fitted on.

    label_days: the target is known this many days after a row's time; 0: at that time. No such window reaches into a
        later split: rows in between are left out. So are rows so young that their target cannot be known yet.
    validation, test: their shares of the rows, about; rows of one time stay together.
    now: the clock that says what is known.
    """

    label_days: int = 0
    validation: float = 0.15
    test: float = 0.15
    now: Callable[[], datetime] = field(default=_utc_now, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_shares(self.validation, self.test)

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `RowSplits`."""
        return {"label_days": self.label_days}

    def read(self, labels: Any, settings: CutoffSettings, seed: int) -> SplitRows:
        """See `RowSplits`."""
        del seed  # nothing is drawn
        rows = known_rows(labels, settings.label, self.now(), tell=_LOG.info)
        times = rows[REQUESTED_AT]
        validation_from, test_from = bounds(times, settings.label, self.validation, self.test)
        until = times + settings.label
        training = rows[(times < validation_from) & (until <= validation_from)]
        validation = rows[(times >= validation_from) & (times < test_from) & (until <= test_from)]
        test = rows[times >= test_from]
        if between := len(rows) - len(training) - len(validation) - len(test):
            _LOG.info(
                f"rows: {between:,} of {len(rows):,} are in no split: what became of them was known only after the "
                "next split began"
            )
        fitted = validation[REQUESTED_AT].max()
        return SplitRows(
            training=[Part(training)],
            validation=[Part(validation)],
            test=[Part(test)],
            window={
                "first_cutoff": training[REQUESTED_AT].min().isoformat(),
                "last_cutoff": fitted.isoformat(),
                "labels_until": (fitted + settings.label).isoformat(),
                COUNTED_AT: test_from.isoformat(),
            },
            parameters={"validation_from": validation_from.isoformat(), "test_from": test_from.isoformat()},
        )

    def test_from(self, labels: Any, settings: CutoffSettings) -> datetime | None:
        """See `RowSplits`."""
        rows = known_rows(labels, settings.label, self.now())
        at: datetime = bounds(rows[REQUESTED_AT], settings.label, self.validation, self.test)[1].to_pydatetime()
        return at


@dataclass(frozen=True)
class RandomSplit:
    """Entities are drawn for training, validation and test; all rows of one are in the same split.

    An entity is drawn by its keys and the seed alone, so it stays where it is when others come.

    label_days, now: as of `TableSplits`.
    validation, test: their shares of the entities.
    """

    label_days: int = 0
    validation: float = 0.15
    test: float = 0.15
    now: Callable[[], datetime] = field(default=_utc_now, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_shares(self.validation, self.test)

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `RowSplits`."""
        return {"label_days": self.label_days}

    def read(self, labels: Any, settings: CutoffSettings, seed: int) -> SplitRows:
        """See `RowSplits`."""
        rows = known_rows(labels, settings.label, self.now(), tell=_LOG.info)
        drawn = _drawn(rows[list(labels.keys)], seed)
        fitted = drawn >= self.test
        validates = fitted & (drawn < self.test + self.validation)
        times = rows[REQUESTED_AT]
        return SplitRows(
            training=[Part(rows[fitted & ~validates])],
            validation=[Part(rows[validates])],
            test=[Part(rows[~fitted])],
            window={
                "first_cutoff": times[fitted].min().isoformat(),
                "last_cutoff": times[fitted].max().isoformat(),
                "labels_until": (times[fitted].max() + settings.label).isoformat(),
                COUNTED_AT: times[~fitted].min().isoformat(),
                HELD_OUT: f"{self.test:g} of {', '.join(labels.keys)} by seed {seed}",
            },
            parameters={"split": "entities at random"},
        )

    def test_from(self, labels: Any, settings: CutoffSettings) -> datetime | None:
        """See `RowSplits`."""
        del labels, settings
        return None


def bounds(
    times: "pd.Series[pd.Timestamp]", label: timedelta, validation: float = 0.15, test: float = 0.15
) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Times of the first row that validates, and of the first that tests.

    Raises:
        DatasetError: the times do not give three splits.
    """
    ordered = times.sort_values(ignore_index=True)
    test_from = ordered[int(len(ordered) * (1 - test))]
    before = ordered[(ordered + label <= test_from) & (ordered < test_from)]
    validation_from = before.iloc[int(len(before) * (1 - validation / (1 - test)))] if len(before) else test_from
    if not ((before < validation_from) & (before + label <= validation_from)).any():
        days = f", each {label.days} days after the one before" if label else ""
        raise DatasetError(
            f"splits: the times of the rows, {ordered.iloc[0]:%Y-%m-%d %H:%M} to {ordered.iloc[-1]:%Y-%m-%d %H:%M}, "
            f"do not give training, validation and test{days}; RandomSplit() keeps entities apart instead of times"
        )
    return validation_from, test_from


def _check_shares(validation: float, test: float) -> None:
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise UseCaseError(
            f"splits: validation {validation:g} and test {test:g} are no shares that leave rows for training"
        )


def known_rows(
    labels: Any,
    label: timedelta,
    now: datetime,
    whole: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """The labelled rows, without those so young that their target cannot be known yet, whatever it says.

    Rows of the table's last days may have no target: the table may be older than `now`.

    Args:
        whole: with all columns.
        tell: takes a sentence about rows that have a target and are left out.

    Raises:
        UseCaseError: the labels are no table of labelled rows.
        DatasetError: no row is old enough.
    """
    if not isinstance(labels, LabelTable):
        raise UseCaseError(
            f"labels: {type(labels).__name__} has no table of labelled rows; TimeSplits take rows at cut-offs"
        )
    rows = labels.whole() if whole else labels.labelled()
    if not label:
        return rows
    times = rows[REQUESTED_AT]
    young, given = times > pd.Timestamp(now) - label, rows[labels.target].notna()
    if early := int((young & given).sum()):
        tell(
            f"rows: {early:,} of {len(rows):,} are not used: they are younger than {label.days} days, so what becomes "
            "of them is not known yet"
        )
    known: pd.DataFrame = rows[~young & (given | (times <= times.max() - label))]
    if known.empty:
        raise DatasetError(f"labels: no row is {label.days} days old, so what became of them is not known yet")
    return known


def labelled_sha256(labels: LabelTable, label: timedelta, built: str = "", now: datetime | None = None) -> str:
    """sha256 of the rows whose target is known, with all their columns and in any order: what a model learns from.

    Args:
        built: digest of features that are built elsewhere.
        now: the clock's time by default.
    """
    rows = known_rows(labels, label, now or _utc_now(), whole=True)
    rows = rows[rows[labels.target].notna()]
    # As text of the narrowest types: rows without a label may have nulls, beside which whole numbers are fractions.
    texts = rows.convert_dtypes().astype(str)
    hashed = np.sort(pd.util.hash_pandas_object(texts, index=False).to_numpy(np.uint64))
    return hashlib.sha256(built.encode() + hashed.tobytes()).hexdigest()


def _drawn(keys: pd.DataFrame, seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each row, the same for equal keys, in every version and on every machine."""
    text = keys.astype(str).agg("|".join, axis=1) if keys.shape[1] > 1 else keys.iloc[:, 0].astype(str)
    hashed = pd.util.hash_pandas_object(f"{seed}|" + text, index=False)
    return hashed.to_numpy(np.uint64).astype(np.float64) / 2.0**64
