"""An entity's rows in Feast's tables are counted for each view, and a fault of the program is no silent store."""

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Column, LargeBinary, MetaData, StaticPool, Table, create_engine, insert

from contract import key_of
from jobs.erasure.online import in_another_store
from jobs.erasure.places import Place
from jobs.offline_store.latest_rows import ViewSource
from scoring.feast.online_rows import OnlineTables
from scoring.feast.redis_layout import KeyLayout


def view(name: str, **keys: str) -> ViewSource:
    return ViewSource(name, "", tuple(keys), tuple(keys.values()), "at", None, (), ())


ORDERS, BY_DEPARTMENT = (
    view("orders", household_id="int64"),
    view("orders_v2", household_id="int64", department="string"),
)


def place(tables: Any, views: Any, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(OnlineTables, "of", lambda _: tables)
    monkeypatch.setattr(ViewSource, "of", lambda known: known)
    store: Any = SimpleNamespace(config=SimpleNamespace(online_store=SimpleNamespace(type="sqlite")))
    return in_another_store(store, views, {"household_id": 7})


@pytest.mark.parametrize("views", [[ORDERS, BY_DEPARTMENT], [BY_DEPARTMENT, ORDERS]], ids=["first", "last"])
def test_the_rows_of_a_view_named_as_a_version_of_another_are_removed(
    views: list[ViewSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    layout = KeyLayout.of("", {"household_id": "int64", "department": "string"})
    with engine.begin() as connection:
        for name in ("shop_orders", "shop_orders_v2"):
            table = Table(name, MetaData(), Column("entity_key", LargeBinary))
            table.create(connection)
        connection.execute(insert(table), [{"entity_key": layout.key(key_of([7, "dairy"]))}])
    online = place(OnlineTables(engine, "shop", frozenset(["orders", "orders_v2"])), views, monkeypatch)

    assert {"shop_orders_v2": 1} == online.count()
    online.erase()

    assert {} == online.count()


def test_a_fault_of_the_program_is_not_a_store_that_did_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError):
        place(SimpleNamespace(count=lambda: {}), [ORDERS], monkeypatch).count()
