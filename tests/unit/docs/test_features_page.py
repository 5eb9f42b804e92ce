"""docs/features.md defines every feature that there is, and none that there is not."""

import re

import ibis

from artefacts.addresses import PROJECT_ROOT
from feature_repo import transformations
from training.churn.source.orders_file import ORDER_COLUMNS

PAGE = PROJECT_ROOT / "docs" / "features.md"
ROWS = {"customer_id", "event_unix_us"}


def defined(view: str) -> set[str]:
    """Names in the first column of the table below a view's name; `_30d` stands for the first name with its end."""
    table = PAGE.read_text(encoding="utf-8").split(f"**`{view}`**")[1].split("\n**")[0]
    names = set()
    for row in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", row)
        stem = first.rpartition("_")[0]
        names |= {first, *(f"{stem}{other}" if other.startswith("_") else other for other in others)}
    return names


def test_every_stored_feature_is_defined() -> None:
    orders = ibis.table(dict(ORDER_COLUMNS), name="orders")
    snapshots = ibis.table({"snapshot_unix_us": "int64"}, name="snapshots")

    assert defined("customer_lifetime") == set(transformations.customer_lifetime(orders).columns) - ROWS
    windowed = transformations.customer_orders_windowed(orders, snapshots)
    assert defined("customer_orders_windowed") == set(windowed.columns) - ROWS


def test_every_feature_that_is_computed_on_demand_is_defined() -> None:
    code = (PROJECT_ROOT / "feature_repo" / "on_demand_feature_views.py").read_text(encoding="utf-8")

    assert defined("customer_recency") == set(re.findall(r'Field\(name="(\w+)"', code))
