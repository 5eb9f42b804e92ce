"""A service whose online store is PostgreSQL or SQLite answers as the one over Redis does, and survives the server."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from artefacts.addresses import Artefacts
from tests.loop import Loop
from tests.servers.postgres import PostgresServer, needs_postgres, postgres
from tests.servers.serving import START_SECONDS, serving, wait_until

CUSTOMERS = [f"{number:05d}" for number in range(40, 60)]


def _repository(loop: Loop, folder: Path, online_store: dict[str, object]) -> Path:
    """A feature_store.yaml with another online store."""
    text = (loop.root / "feature_repo" / "feature_store.yaml").read_text()
    before, _, after = text.partition("online_store:\n")
    file = folder / "feature_store.yaml"
    file.write_text(before + yaml.safe_dump({"online_store": online_store}) + after[after.index("entity_key_") :])
    return file


def _fill(loop: Loop, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the store's tables, and store the newest row of each customer in each view."""
    from scoring.feast.store import open_store

    monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(file))
    artefacts = Artefacts.of({}, root=loop.root)
    store = open_store(loop.root / "feature_repo", artefacts)
    views = store.list_feature_views()
    store.provider.online_store.update(store.config, [], views, [], [], False)
    for view in views:
        rows = pd.read_parquet(artefacts.offline_store / "current" / view.name)
        rows = rows[rows["customer_id"].isin(CUSTOMERS)].sort_values("event_timestamp")
        store.write_to_online_store(view.name, rows.drop_duplicates("customer_id", keep="last"))
    store.provider.online_store._conn.close()


def _answers_as_over_redis(loop: Loop, folder: Path, file: Path, server: PostgresServer | None = None) -> None:
    with serving(loop, folder, FEAST_FS_YAML_FILE_PATH=str(file)) as service:
        for customer in CUSTOMERS:
            theirs, ours = (each.call("POST", "/predict", {"customer_id": customer}) for each in (loop, service))
            assert (200, 200) == (theirs.status, ours.status)
            assert theirs.body["churn_probability"] == pytest.approx(ours.body["churn_probability"], abs=1e-4)
            assert (theirs.body["status"], theirs.body["churn"]) == (ours.body["status"], ours.body["churn"])
        assert 404 == service.call("POST", "/predict", {"customer_id": "nobody"}).status
        if server is None:
            return
        server.kill()
        killed = service.call("POST", "/predict", {"customer_id": CUSTOMERS[0]})
        assert (503, "online_store_unavailable") == (killed.status, killed.body["error"]["code"])
        assert (503, 200) == service.health()
        assert service.metric("model_service_online_store_errors_total", error="OperationalError") > 0
        server.restart()
        wait_until(lambda: service.health() == (200, 200), START_SECONDS)
        assert 200 == service.call("POST", "/predict", {"customer_id": CUSTOMERS[0]}).status


@needs_postgres
def test_postgresql(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres() as server:
        file = _repository(loop, tmp_path, server.feast_store())
        _fill(loop, file, monkeypatch)

        _answers_as_over_redis(loop, tmp_path, file, server)


def test_sqlite(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _repository(loop, tmp_path, {"type": "sqlite", "path": str(tmp_path / "online.db")})
    _fill(loop, file, monkeypatch)

    _answers_as_over_redis(loop, tmp_path, file)
