"""Which rows of a table are fitted on, chosen by and judged by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artefacts.cutoffs import CutoffSettings
from contract.inputs import COUNTED_AT
from training.errors import DatasetError, UseCaseError
from training.promotion.judgement import fitted_after
from training.row_splits.split_rows import HELD_OUT, Part
from training.row_splits.table_splits import RandomSplit, TableSplits, labelled_sha256
from training.row_splits.time_splits import TimeSplits

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = ["customer_id", "event_timestamp"]


@dataclass(frozen=True)
class Rows:
    """A table of labelled rows."""

    frame: pd.DataFrame
    keys: Sequence[str] = ("customer_id",)
    target: str = "left"
    tenure: int = 7

    def labelled(self) -> pd.DataFrame:
        return self.frame

    def whole(self) -> pd.DataFrame:
        return self.frame.assign(tenure=self.tenure)


def rows(days: Sequence[float], customers: Sequence[int] | None = None) -> Rows:
    times = pd.to_datetime([SINCE + timedelta(days=day) for day in days]).astype("datetime64[us, UTC]")
    ids = list(range(len(days))) if customers is None else customers
    return Rows(pd.DataFrame({"customer_id": ids, "event_timestamp": times, "left": False}))


def years_later() -> datetime:
    """A clock for which everything is known."""
    return SINCE + timedelta(days=3650)


def settings(label_days: int = 0) -> CutoffSettings:
    return CutoffSettings(label_days=label_days)


def frame(parts: Sequence[Part]) -> pd.DataFrame:
    return pd.concat([part.rows for part in parts])


def test_the_latest_rows_test_and_those_before_them_validate() -> None:
    split = TableSplits(validation=0.2, test=0.1).read(rows(range(100)), settings(), seed=1)

    assert [70, 20, 10] == [len(frame(parts)) for parts in split.by_name.values()]
    assert [*range(70)] == frame(split.training)["customer_id"].tolist()
    assert [*range(90, 100)] == frame(split.test)["customer_id"].tolist()
    assert (SINCE + timedelta(days=90)).isoformat() == split.window[COUNTED_AT]
    assert SINCE + timedelta(days=90) == TableSplits(validation=0.2, test=0.1).test_from(rows(range(100)), settings())


@given(days=st.lists(st.integers(0, 300), min_size=3, max_size=60), label_days=st.integers(0, 60))
def test_no_label_reaches_into_a_later_split_and_no_row_is_in_two(days: list[int], label_days: int) -> None:
    try:
        split = TableSplits(now=years_later).read(rows(days), settings(label_days), seed=1)
    except DatasetError:
        return  # they span too short a time

    parts = [frame(each) for each in split.by_name.values()]
    assert all(len(part) for part in parts)
    for earlier, later in pairwise(parts):
        assert (earlier["event_timestamp"].max() + timedelta(days=label_days)) <= later["event_timestamp"].min()
        assert earlier["event_timestamp"].max() < later["event_timestamp"].min()
    assert not pd.concat(parts)["customer_id"].duplicated().any()
    fitted_until = parts[1]["event_timestamp"].max() + timedelta(days=label_days)
    assert fitted_until.isoformat() == split.window["labels_until"]
    assert not fitted_after(split.window, parts[2]["event_timestamp"].min())


def test_rows_of_one_time_stay_together() -> None:
    monthly = [month * 30 for month in range(6) for _ in range(50)]

    split = TableSplits(label_days=28, now=years_later).read(rows(monthly), settings(28), seed=1)

    times = [frame(parts)["event_timestamp"].nunique() for parts in split.by_name.values()]
    assert [4, 1, 1] == times


def test_a_target_that_cannot_be_known_yet_may_be_null_and_its_row_is_left_out() -> None:
    table = rows(range(100))
    table.frame["left"] = [False] * 80 + [None] * 20

    split = TableSplits(label_days=20, now=years_later).read(table, settings(20), seed=1)

    assert 79 == frame(split.test)["customer_id"].max()


def test_a_target_that_should_be_known_and_is_null_stays_for_the_task_to_refuse() -> None:
    table = rows(range(100))
    table.frame["left"] = [None] + [False] * 99

    assert (
        frame(TableSplits(label_days=20, now=years_later).read(table, settings(20), seed=1).training)["left"]
        .isna()
        .any()
    )


@pytest.mark.parametrize("splits", [TableSplits, RandomSplit])
def test_a_row_whose_outcome_cannot_be_known_yet_is_left_out_and_counted_aloud(
    splits: Callable[..., TableSplits | RandomSplit], caplog: pytest.LogCaptureFixture
) -> None:
    table = rows(range(100))

    def clock() -> datetime:
        return SINCE + timedelta(days=99)

    with caplog.at_level("INFO", logger="training"):
        split = splits(label_days=20, now=clock).read(table, settings(20), seed=1)

    assert 79 == max(frame(parts)["customer_id"].max() for parts in split.by_name.values())
    assert "rows: 20 of 100 are not used: they are younger than 20 days" in caplog.text


def test_rows_between_splits_are_counted_aloud(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="training"):
        split = TableSplits(label_days=10, now=years_later).read(rows(range(100)), settings(10), seed=1)

    left = 100 - sum(len(frame(parts)) for parts in split.by_name.values())
    assert left > 0
    assert f"rows: {left} of 100 are in no split" in caplog.text


def test_a_table_of_which_nothing_is_known_yet_is_refused() -> None:
    with pytest.raises(DatasetError, match="no row is 20 days old"):
        TableSplits(label_days=20, now=lambda: SINCE).read(rows(range(10)), settings(20), seed=1)


def test_labelled_rows_are_the_same_data_in_any_order_and_beside_rows_without_outcome() -> None:
    table = rows(range(50))
    table.frame["left"] = [False, True] * 25
    shuffled = replace(table, frame=table.frame.sample(frac=1, random_state=1))
    longer = rows(range(60))
    longer.frame["left"] = [False, True] * 25 + [None] * 10
    corrected = rows(range(50))
    corrected.frame["left"] = [True, True] + [False, True] * 24

    def data(labels: Rows, built: str = "") -> str:
        return labelled_sha256(labels, timedelta(0), built, years_later())

    assert data(table) == data(shuffled) == data(longer)
    others = [data(corrected), data(replace(table, tenure=8)), data(table, built="of another build")]
    assert 4 == len({data(table), *others})


def test_whole_numbers_are_the_same_data_beside_rows_without_outcome() -> None:
    table, longer = rows(range(50)), rows(range(60))
    table.frame["left"] = [3, 4] * 25
    longer.frame["left"] = [3, 4] * 25 + [None] * 10

    assert labelled_sha256(table, timedelta(0), now=years_later()) == labelled_sha256(
        longer, timedelta(0), now=years_later()
    )


def test_entities_are_drawn_with_all_their_rows_and_stay_when_others_come() -> None:
    few = rows(range(300), [n // 3 for n in range(300)])
    more = rows(range(600), [n // 3 for n in range(600)])

    before, after = (RandomSplit().read(table, settings(), seed=7).by_name for table in (few, more))

    for name in ("training", "validation", "test"):
        drawn = set(frame(before[name])["customer_id"])
        assert drawn == {customer for customer in frame(after[name])["customer_id"] if customer < 100}
    assert 600 == sum(len(frame(parts)) for parts in after.values())


def test_another_seed_draws_others_and_shares_are_about_those_asked_for() -> None:
    table = rows([0] * 4000)

    drawn = RandomSplit(validation=0.2, test=0.1)
    first, second = (drawn.read(table, settings(), seed=seed) for seed in (1, 2))

    assert set(frame(first.test)["customer_id"]) != set(frame(second.test)["customer_id"])
    assert [0.7, 0.2, 0.1] == pytest.approx([len(frame(p)) / 4000 for p in first.by_name.values()], abs=0.03)
    assert first.window[HELD_OUT] != second.window[HELD_OUT]


def test_composite_keys_are_drawn_together() -> None:
    table = rows([0] * 400)
    table.frame["shop"] = [f"s{n % 7}" for n in range(400)]
    both = replace(table, keys=("customer_id", "shop"))

    split = RandomSplit().read(both, settings(), seed=1)

    assert 400 == sum(len(frame(parts)) for parts in split.by_name.values())
    assert RandomSplit().read(table, settings(), seed=1).window[HELD_OUT] != split.window[HELD_OUT]


def test_models_of_one_draw_are_compared_and_others_are_not() -> None:
    table = rows([0] * 100)
    one, other = (RandomSplit().read(table, settings(), seed=seed).window for seed in (1, 2))
    at = SINCE

    assert not fitted_after(one, at, one[HELD_OUT])
    assert "kept 0.15 of customer_id by seed 2 aside" in fitted_after(other, at, one[HELD_OUT])
    assert "kept no entities aside" in fitted_after({"labels_until": SINCE.isoformat()}, at, one[HELD_OUT])
    assert RandomSplit().test_from(table, settings()) is None


def test_shares_that_leave_nothing_for_training_are_refused() -> None:
    for make in (TableSplits, RandomSplit):
        with pytest.raises(UseCaseError, match=r"splits: validation 0.5 and test 0.5 are no shares"):
            make(validation=0.5, test=0.5)


def test_splits_refuse_labels_of_the_other_kind_by_name() -> None:
    with pytest.raises(UseCaseError, match="labels: Rows has no rows at cut-offs, which TimeSplits ask for"):
        TimeSplits().read(rows([1, 2, 3]), settings(90), seed=1)
    with pytest.raises(UseCaseError, match="labels: str has no table of labelled rows"):
        TableSplits().read("a text", settings(), seed=1)


def test_rows_at_cutoffs_need_a_day_of_label_at_least() -> None:
    with pytest.raises(UseCaseError, match="splits: label_days: rows at cut-offs need at least 1"):
        TimeSplits().read(rows([1]), settings(0), seed=1)
