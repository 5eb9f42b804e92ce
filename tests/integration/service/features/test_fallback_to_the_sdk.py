"""What the compiled reader cannot read as Feast does, Feast's SDK reads, and the log says why."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from contract import ModelContract
from service.features.compiled.reader import RedisFeatures
from service.features.feast_sdk import FeastOnlineFeatures
from tests.integration.service.conftest import (
    DEFINITIONS,
    FEATURE_STORE_YAML,
    TinyFeast,
    contract_over,
    tiny_feast,
)
from tests.models.fakes import NOW_US, customer


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()


def test_a_store_that_can_be_compiled_is_and_the_sdk_reads_where_that_is_asked_for(
    feast: TinyFeast, contract: ModelContract, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(feast.open(contract).features, RedisFeatures)
    assert isinstance(feast.open(contract, compiled=False).features, FeastOnlineFeatures)
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


ODD_DEFINITIONS = (
    DEFINITIONS
    + """

import pandas as pd
from feast.types import Uuid

@on_demand_feature_view(
    sources=[profile[["last_order_unix_us"]], request_time],
    schema=[Field(name="days_in_pandas", dtype=Float64)],
    mode="pandas",
)
def in_pandas(inputs: pd.DataFrame) -> pd.DataFrame:
    days = (inputs["as_of"] - inputs["last_order_unix_us"]) / 86_400_000_000
    return pd.DataFrame({"days_in_pandas": days.astype("float64")})


@on_demand_feature_view(
    sources=[profile[["last_order_unix_us"]], request_time],
    schema=[Field(name="days_row_by_row", dtype=Float64)],
    mode="python",
    singleton=True,
)
def row_by_row(inputs: dict[str, Any]) -> dict[str, Any]:
    last = inputs["last_order_unix_us"]
    return {"days_row_by_row": None if last is None else (inputs["as_of"] - last) / 86_400_000_000}


@on_demand_feature_view(
    sources=[profile[["last_order_unix_us"]]],
    entities=[customer],
    schema=[Field(name="last_order_day", dtype=Int64)],
    mode="python",
    write_to_online_store=True,
)
def written_ahead(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_order_day": [last // 86_400_000_000 for last in inputs["last_order_unix_us"]]}


sessions = FeatureView(
    name="sessions",
    entities=[customer],
    schema=[Field(name="session", dtype=Uuid), Field(name="clicks", dtype=Int64)],
    source=rows_of("sessions"),
)


@on_demand_feature_view(sources=[sessions[["session"]]], schema=[Field(name="version", dtype=Int64)], mode="python")
def session_version(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"version": [None if session is None else session.version for session in inputs["session"]]}


@on_demand_feature_view(
    sources=[profile[["last_order_unix_us"]].with_name("orders"), request_time],
    schema=[Field(name="renamed_days", dtype=Float64)],
    mode="python",
)
def renamed_source(inputs: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(inputs["as_of"], inputs["last_order_unix_us"])
    return {"renamed_days": [None if last is None else (now - last) / 86_400_000_000 for now, last in pairs]}


with_pandas = FeatureService(name="in_pandas", features=[profile[["order_count"]], in_pandas])
with_rows = FeatureService(name="row_by_row", features=[profile[["order_count"]], row_by_row])
with_written = FeatureService(name="written_ahead", features=[profile[["order_count"]], written_ahead])
with_uuid = FeatureService(name="uuid", features=[sessions[["clicks"]], session_version])
with_source = FeatureService(name="renamed_source", features=[profile[["order_count"]], renamed_source])
with_output = FeatureService(name="renamed_output", features=[profile[["order_count"]], recency.with_name("days")])
with_key = FeatureService(
    name="mapped_key",
    features=[profile[["order_count"]], activity.with_join_key_map({"customer_id": "customer_id"})],
)
"""
)


@pytest.fixture(scope="module")
def odd(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> TinyFeast:
    """Feature services that Feast serves and a compiled plan cannot."""
    feast = tiny_feast(tmp_path_factory.mktemp("odd"), valkey, ODD_DEFINITIONS)
    feast.apply()
    feast.write({"a": customer(orders=4, orders_30d=2, member=1, days_since=10)})
    return feast


_DAYS = 10.0
_MORE_THAN_A_FUNCTION = "is more than a Python function over columns"


@pytest.mark.parametrize(
    ("service", "reason", "expected"),
    [
        ("in_pandas", f"'in_pandas' {_MORE_THAN_A_FUNCTION}", {"order_count": 4, "days_in_pandas": _DAYS}),
        ("row_by_row", f"'row_by_row' {_MORE_THAN_A_FUNCTION}", {"order_count": 4, "days_row_by_row": _DAYS}),
        ("written_ahead", f"'written_ahead' {_MORE_THAN_A_FUNCTION}", None),
        ("uuid", "'session_version' takes a UUID", None),
        ("renamed_source", "'renamed_source' renames view 'profile'", {"order_count": 4, "renamed_days": _DAYS}),
        ("renamed_output", "'recency' is renamed", {"order_count": 4, "days_since_last_order": _DAYS}),
        ("mapped_key", "'activity' is renamed", {"order_count": 4, "order_count_30d": 2, "is_member": 1}),
    ],
)
async def test_what_cannot_be_compiled_is_read_through_the_sdk_and_said(
    odd: TinyFeast, caplog: pytest.LogCaptureFixture, service: str, reason: str, expected: dict[str, float] | None
) -> None:
    contract = contract_over(odd.schema(service))

    features = odd.open(contract).features

    assert isinstance(features, FeastOnlineFeatures)
    assert reason in caplog.text
    if expected is not None:
        raw = await features.read(["a"], NOW_US)
        names = [name.partition("__")[2] for name in contract.feature_names]
        assert expected == dict(zip(names, raw.values[0], strict=True))
    await features.close()


_REDIS_SECTION = FEATURE_STORE_YAML[FEATURE_STORE_YAML.index("online_store:") : FEATURE_STORE_YAML.index("entity_key_")]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("_CONNECTION_STRING}'", "_CONNECTION_STRING},health_check_interval=30'", "connection_string"),
        ("_CONNECTION_STRING}'", "_CONNECTION_STRING},db=0'", "connection_string"),
        ("registry_type: file", "registry_type: file\n  enable_online_feature_view_versioning: true", "versioned"),
        (_REDIS_SECTION, "online_store:\n  type: sqlite\n  path: {folder}/online.db\n", "is not Redis"),
        ("'${REDIS_TYPE}'", "redis_cluster", "a Redis cluster"),
        pytest.param(
            "serialization_version: 3",
            "serialization_version: 2",
            "not serialised in version 3",
            marks=pytest.mark.filterwarnings("ignore:The serialization version below 3:DeprecationWarning"),
        ),
    ],
    ids=["an option", "another database", "versioned", "SQLite", "a cluster", "older keys"],
)
def test_a_store_that_is_laid_out_otherwise_is_read_through_the_sdk_and_said(
    feast: TinyFeast,
    contract: ModelContract,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    old: str,
    new: str,
    reason: str,
) -> None:
    assert 1 == FEATURE_STORE_YAML.count(old)
    yaml = FEATURE_STORE_YAML.replace(old, new.replace("{folder}", str(tmp_path)))
    other = replace(feast, repo=tiny_feast(tmp_path, None, "", yaml).repo)

    assert isinstance(other.open(contract).features, FeastOnlineFeatures)

    assert reason in caplog.text


def test_keys_that_this_feast_lays_out_otherwise_are_left_to_the_sdk(
    feast: TinyFeast, contract: ModelContract, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from scoring.feast import redis_layout

    monkeypatch.setattr(redis_layout, "serialize_entity_key", lambda *_, **__: b"another layout")

    assert isinstance(feast.open(contract).features, FeastOnlineFeatures)
    assert "lays out its Redis keys differently" in caplog.text
