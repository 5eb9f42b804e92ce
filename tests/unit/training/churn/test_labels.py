"""Labels of churn for any customers and moments; the labels of a log are tested with the jobs."""

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from artefacts.errors import SourceError
from tests.models.orders import write_orders
from training.churn.labels import labels

OBSERVED = datetime.fromisoformat("2024-06-10T00:00:00+00:00")  # as `write_orders` describes them
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"ORDERS_PATH": str(tmp_path / "or[de]rs.parquet"), "STREAMED_ORDERS_DIR": str(tmp_path / "streamed")}


def entities(*rows: tuple[str, datetime]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["customer_id", "event_timestamp"], index=range(7, 7 + len(rows)))
    return frame.astype({"event_timestamp": "datetime64[us, UTC]"})


def test_the_same_rows_come_back_with_a_label_that_is_null_where_it_is_not_yet_known(
    environ: dict[str, str],
) -> None:
    due = OBSERVED - timedelta(days=30)
    write_orders(
        Path(environ["ORDERS_PATH"]), [("o1", "stays", due, 1.0, 1), ("o2", "left", due - MICROSECOND, 1.0, 1)]
    )
    asked = entities(("stays", due), ("left", due), ("stays", due + MICROSECOND), ("stranger", due), ("stays", due))

    found = labels(asked, environ, 30)

    assert [False, True, None, True, False] == [None if pd.isna(label) else bool(label) for label in found["label"]]
    pd.testing.assert_frame_equal(asked, found.drop(columns="label"))
    assert "boolean" == found["label"].dtype


def test_of_an_order_that_was_streamed_too_the_file_tells_the_time(environ: dict[str, str]) -> None:
    due = OBSERVED - timedelta(days=30)
    before, after = due - timedelta(days=1), due + timedelta(days=1)
    write_orders(Path(environ["ORDERS_PATH"]), [("o0", "moved back", before, 1.0, 1)])
    streamed = [("o0", "moved back", after, 1.0, 1), ("o1", "streamed", after, 1.0, 1)]
    write_orders(Path(environ["STREAMED_ORDERS_DIR"]) / "batch=0" / "part-0.parquet", streamed)

    found = labels(entities(("moved back", due), ("streamed", due)), environ, 30)

    assert [True, False] == found["label"].tolist()


def test_nobody_asked_for_gives_no_rows_but_the_orders_must_be_there(environ: dict[str, str]) -> None:
    with pytest.raises(SourceError, match="no orders; run `make data` first"):
        labels(entities(), environ, 30)

    write_orders(Path(environ["ORDERS_PATH"]), [("o1", "stays", OBSERVED, 1.0, 1)])
    assert ["customer_id", "event_timestamp", "label"] == list(labels(entities(), environ, 30).columns)
