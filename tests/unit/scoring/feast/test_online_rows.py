"""Which of Feast's tables in SQL are a view's."""

import pytest
from sqlalchemy import Column, Engine, LargeBinary, MetaData, StaticPool, Table, create_engine, insert

from scoring.feast.online_rows import OnlineTables


@pytest.fixture
def engine() -> Engine:
    return create_engine("sqlite://", poolclass=StaticPool)


def tables(engine: Engine, views: set[str], rows: dict[str, list[bytes]]) -> OnlineTables:
    with engine.begin() as connection:
        for name, keys in rows.items():
            table = Table(name, MetaData(), Column("entity_key", LargeBinary))
            table.create(connection)
            connection.execute(insert(table), [{"entity_key": key} for key in keys])
    return OnlineTables(engine, "shop", frozenset(views))


def test_a_views_versions_are_its_own_and_a_view_of_such_a_name_is_not(engine: Engine) -> None:
    rows = {"shop_orders": [b"a"], "shop_orders_v2": [b"a", b"b"], "shop_orders_v3": [b"a"], "shop_orders_old": [b"a"]}
    online = tables(engine, {"orders", "orders_v2"}, rows)

    assert {"shop_orders": 1, "shop_orders_v3": 1} == online.count("orders", [b"a"])
    assert {"shop_orders_v2": 2} == online.count("orders_v2", [b"a", b"b"])

    online.remove("orders", [b"a"])

    assert [b"a", b"b"] == online.keys("orders_v2")


@pytest.mark.parametrize("length", [57, 58, 59, 70])
def test_a_name_that_postgres_cuts_is_found(length: int, engine: Engine) -> None:
    engine.dialect.max_identifier_length = 63
    view = "ä" + "v" * (length - 1)
    named = [f"shop_{view}", f"shop_{view}_v2"]
    cut = {name.encode()[:63].decode(errors="ignore") for name in named}
    online = tables(engine, {view, "other"}, {name: [b"a"] for name in cut})

    assert dict.fromkeys(cut, 1) == online.count(view, [b"a"])
