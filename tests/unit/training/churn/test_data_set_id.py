"""Whether a new orders file is of the data set that was there, by its orders and not by its name."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from training.churn.data_set_id import count_other_batches
from training.churn.orders import write_frame
from training.churn.own_orders import write_own

END = datetime(2024, 6, 10, tzinfo=UTC)
Rows = list[tuple[str | None, str, datetime, float]]
ORDERS: Rows = [(f"o{n}", f"c{n % 30}", END - timedelta(hours=1 + n * 7), float(n % 50)) for n in range(200)]


def written(folder: Path, rows: Rows, file: str = "own.csv") -> str:
    """The data set of the orders file after rows of (order id, customer, time, amount) were delivered."""
    has_ids = rows[0][0] is not None
    lines = [f"{id_}," * has_ids + f"{c},{at.isoformat()},{amount},1" for id_, c, at, amount in rows]
    own = folder / file
    own.write_text("order_id," * has_ids + "\n".join(["customer_id,event_timestamp,amount,items", *lines]) + "\n")
    write_own(folder / "orders.parquet", own, END)
    return data_set(folder / "orders.parquet")


def data_set(file: Path) -> str:
    found: bytes = (pq.read_metadata(file).metadata or {}).get(b"data_set", b"")
    return found.decode()


SAME: dict[str, Callable[[Rows], Rows]] = {
    "nothing": lambda rows: rows,
    "the order of rows": lambda rows: rows[::-1],
    "more orders": lambda rows: rows + [(f"n{i}", f"new{i}", at, a) for i, (_, _, at, a) in enumerate(rows * 3)],
    "some cancelled": lambda rows: rows[80:],
    "all amounts corrected": lambda rows: [(i, c, at, a + 1) for i, c, at, a in rows],
    "all times corrected": lambda rows: [(i, c, at - timedelta(hours=1), a) for i, c, at, a in rows],
}
OTHER: dict[str, Callable[[Rows], Rows]] = {
    "other customers": lambda rows: [(i, f"other-{c}", at, a) for i, c, at, a in rows],
    "the same ids by chance": lambda rows: [(i, c, at - timedelta(days=3), a + 3) for i, c, at, a in rows],
    "few left": lambda rows: rows[110:],
    "no ids any more": lambda rows: [(None, c, at, a) for _, c, at, a in rows],
}


@pytest.mark.parametrize("change", SAME)
def test_a_file_that_grew_or_was_corrected_is_of_the_same_data_set_whatever_its_name(
    tmp_path: Path, change: str
) -> None:
    assert written(tmp_path, ORDERS) == written(tmp_path, SAME[change](ORDERS), "2024-06-10.csv")


@pytest.mark.parametrize("change", OTHER)
def test_other_orders_are_of_another_data_set_also_under_the_same_name(tmp_path: Path, change: str) -> None:
    assert written(tmp_path, ORDERS) != written(tmp_path, OTHER[change](ORDERS))


def test_orders_that_get_ids_are_another_data_set_since_those_streamed_before_would_count_twice(tmp_path: Path) -> None:
    without: Rows = [(None, c, at, a) for _, c, at, a in ORDERS]

    assert written(tmp_path, without) == written(tmp_path, without[::-1]) != written(tmp_path, ORDERS)


def test_a_data_set_keeps_its_id_while_it_changes_step_by_step(tmp_path: Path) -> None:
    ids = {written(tmp_path, ORDERS[first : first + 100]) for first in range(0, 100, 40)}

    assert 1 == len(ids)


def test_the_same_orders_are_the_same_data_set_in_every_place(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()

    assert written(tmp_path / "one", ORDERS) == written(tmp_path / "other", ORDERS)


def test_a_file_of_an_earlier_version_goes_on_without_an_id(tmp_path: Path) -> None:
    written(tmp_path, ORDERS)
    file = tmp_path / "orders.parquet"
    pq.write_table(pq.read_table(file), file)  # which says nothing of a data set

    assert "" == data_set(file) == written(tmp_path, ORDERS)
    assert "" == written(tmp_path, [(None, c, at, a) for _, c, at, a in ORDERS])
    assert "" != written(tmp_path, OTHER["other customers"](ORDERS))


def test_cdnow_of_another_day_is_the_same_data_set(tmp_path: Path) -> None:
    orders = pd.DataFrame(ORDERS, columns=["order_id", "customer_id", "event_timestamp", "amount"]).assign(items=1)
    write_frame(orders, tmp_path / "orders.parquet", "CDNOW", 0, END)
    before = data_set(tmp_path / "orders.parquet")
    moved = orders.assign(event_timestamp=orders["event_timestamp"] - pd.Timedelta(days=1))

    write_frame(moved, tmp_path / "orders.parquet", "CDNOW", -1, END)

    assert before == data_set(tmp_path / "orders.parquet") != ""


def test_batches_of_other_data_are_counted(tmp_path: Path) -> None:
    mine = written(tmp_path, ORDERS)
    for number, of in enumerate((mine, "former", "")):
        batch = tmp_path / "streamed" / f"batch={number}"
        batch.mkdir(parents=True)
        table = pq.read_table(tmp_path / "orders.parquet").replace_schema_metadata({"data_set": of} if of else None)
        pq.write_table(table, batch / "part-0.parquet")

    assert 2 == count_other_batches(tmp_path / "orders.parquet", tmp_path / "streamed")
