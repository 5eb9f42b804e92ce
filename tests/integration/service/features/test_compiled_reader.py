"""The compiled reader equals Feast's SDK, value by value and event time by event time, whatever Feast can store."""

import asyncio
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis
from feast import FeatureStore, Field
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.Value_pb2 import NULL, StringList, Value
from feast.types import Bool, Float32, Float64, Int32, Int64
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from contract import ModelContract, RawFeatures
from scoring.feast.on_demand import OnDemandView, Output
from scoring.feast.values import numbers_of
from service.features.compiled.reader import RedisFeatures
from service.features.feast_sdk import FeastOnlineFeatures
from service.features.port import OnlineFeatures
from tests.integration.service.conftest import TinyFeast, contract_over, tiny_feast
from tests.integration.service.features.typed_values import DEFINITIONS, Row, customers, entity_key
from tests.models.fakes import NOW, NOW_US


@dataclass
class TwoReaders:
    """The same store, read by Feast's SDK and by a compiled plan."""

    store: FeatureStore
    contract: ModelContract
    sdk: OnlineFeatures
    compiled: OnlineFeatures
    loop: asyncio.Runner
    redis_url: str | None

    def write(self, rows: Sequence[tuple[str, dict[str, Row]]]) -> None:
        """Store customers' rows by Feast's own writer."""
        config = self.store.config
        writer = self.store.provider.online_store
        for view in ("numbers", "daily", "extras"):
            of_view = [(customer_id, stored[view]) for customer_id, stored in rows if view in stored]
            data = [(entity_key(i), dict(row.values), row.event_time, None) for i, row in of_view]
            if data:
                writer.online_write_batch(config, self.store.get_feature_view(view), data, None)

    def read(self, reader: OnlineFeatures, ids: Sequence[str], as_of: Any) -> RawFeatures:
        return self.loop.run(reader.read(ids, as_of))


def _open(feast: TinyFeast, service: str) -> TwoReaders:
    os.environ.update(feast.artefacts.feast_environment())
    store = FeatureStore(repo_path=str(feast.repo))
    contract = contract_over(feast.schema(service))
    sdk = feast.open(contract, compiled=False).features
    compiled = feast.open(contract).features
    assert (FeastOnlineFeatures, RedisFeatures) == (type(sdk), type(compiled))
    return TwoReaders(store, contract, sdk, compiled, asyncio.Runner(), feast.artefacts.redis_url)


@pytest.fixture(scope="module")
def typed_feast(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> TinyFeast:
    feast = tiny_feast(tmp_path_factory.mktemp("typed"), valkey, DEFINITIONS)
    feast.apply()
    return feast


def _opened(feast: TinyFeast, service: str) -> Iterator[TwoReaders]:
    readers = _open(feast, service)
    with readers.loop as loop:
        yield readers
        for reader in (readers.sdk, readers.compiled):
            loop.run(reader.close())


@pytest.fixture(scope="module")
def typed(typed_feast: TinyFeast) -> Iterator[TwoReaders]:
    yield from _opened(typed_feast, "typed_v1")


@pytest.fixture(scope="module")
def numbers_only(typed_feast: TinyFeast) -> Iterator[TwoReaders]:
    yield from _opened(typed_feast, "numbers_v1")


@pytest.fixture(scope="module")
def picky(typed_feast: TinyFeast) -> Iterator[TwoReaders]:
    yield from _opened(typed_feast, "picky_v1")


def _assert_equal(expected: RawFeatures, actual: RawFeatures) -> None:
    np.testing.assert_array_equal(expected.values, actual.values)
    numbers = ~np.isnan(expected.values)
    np.testing.assert_array_equal(np.signbit(expected.values[numbers]), np.signbit(actual.values[numbers]))
    assert expected.event_times is not None
    assert actual.event_times is not None
    np.testing.assert_array_equal(expected.event_times, actual.event_times)


def test_the_compiled_reader_equals_the_sdk_in_every_value_and_event_time(typed: TwoReaders) -> None:
    batches = itertools.count()
    compared = {"values": 0, "examples": 0}

    # Shrinking would take minutes, because each example is written and read; what failed is printed as it is.
    @settings(max_examples=80, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(customers(NOW), st.data())
    def check(stored: list[dict[str, Row]], data: st.DataObject) -> None:
        # Ids of their own: Feast would not overwrite a row by an older one.
        prefix = data.draw(st.text(max_size=4), label="prefix")
        batch = next(batches)
        ids = [f"{prefix}-{batch}-{number}" for number in range(len(stored))]
        typed.write(list(zip(ids, stored, strict=True)))
        asked = data.draw(st.permutations([*ids, *ids[:3], "nobody"]), label="asked")
        one_time = st.integers(0, 2 * NOW_US)
        times = st.lists(one_time, min_size=len(asked), max_size=len(asked))
        as_of = data.draw(one_time | times.map(lambda t: np.array(t, dtype=np.int64)), label="as_of")

        expected = typed.read(typed.sdk, asked, as_of)
        actual = typed.read(typed.compiled, asked, as_of)

        _assert_equal(expected, actual)
        compared["values"] += int((~np.isnan(expected.values)).sum())
        compared["examples"] += 1
        event(f"{len(stored) // 8 * 8} customers or more")

    check()

    assert compared["values"] > 20 * compared["examples"], "too few values were compared to say anything"


EVENT_TIME = datetime.fromtimestamp(NOW - 60, UTC)
COMPLETE = {
    "numbers": Row(
        EVENT_TIME,
        {
            "flag": Value(bool_val=True),
            "small": Value(int32_val=-7),
            "big": Value(int64_val=NOW_US),
            "single": Value(float_val=0.5),
            "double": Value(double_val=0.1),
        },
    ),
    "daily": Row(EVENT_TIME, {"day_double": Value(double_val=3.0), "day_big": Value(int64_val=1)}),
    "extras": Row(
        EVENT_TIME,
        {
            "count": Value(int64_val=3),
            "text": Value(string_val="hello"),
            "words": Value(string_list_val=StringList(val=["one", "two"])),
        },
    ),
}


def _changed(view: str, **values: Value) -> dict[str, Row]:
    row = COMPLETE[view]
    return {**COMPLETE, view: Row(row.event_time, {**row.values, **values})}


def _column(readers: TwoReaders, name: str) -> int:
    return readers.contract.feature_names.index(name)


@pytest.mark.parametrize(
    ("field", "stored", "number"),
    [
        ("double", Value(int64_val=2**53 + 1), 2.0**53),
        ("double", Value(float_val=0.1), float(np.float32(0.1))),
        ("double", Value(bool_val=True), 1.0),
        ("double", Value(unix_timestamp_val=10**15), 1e15),
        ("double", Value(string_val="2.5"), 2.5),
        ("double", Value(null_val=NULL), math.nan),
        ("single", Value(double_val=1e308), 1e308),
        ("small", Value(int64_val=-(2**63)), -(2.0**63)),
        ("small", Value(double_val=2.75), 2.75),
        ("big", Value(double_val=math.inf), math.inf),
        ("flag", Value(int64_val=5), 5.0),
    ],
)
def test_a_number_stored_under_another_type_than_declared_is_read_as_it_is(
    numbers_only: TwoReaders, field: str, stored: Value, number: float
) -> None:
    numbers_only.write([(f"{field}-{number}-{stored.WhichOneof('val')}", _changed("numbers", **{field: stored}))])

    for reader in (numbers_only.sdk, numbers_only.compiled):
        raw = numbers_only.read(reader, [f"{field}-{number}-{stored.WhichOneof('val')}"], NOW_US)
        np.testing.assert_array_equal([number], raw.values[:, _column(numbers_only, f"numbers__{field}")])


def test_an_explicit_null_is_null_to_on_demand_code_too(typed: TwoReaders) -> None:
    nulls = {name: Value(null_val=NULL) for name in ("small", "double", "big")}
    absent = {name: Value() for name in nulls}
    typed.write([("explicit", _changed("numbers", **nulls)), ("absent", _changed("numbers", **absent))])

    raw = typed.read(typed.compiled, ["explicit", "absent"], NOW_US)

    computed = [column for column, name in enumerate(typed.contract.feature_names) if name != "echoed__echo"]
    np.testing.assert_array_equal(raw.values[0, computed], raw.values[1, computed])
    assert math.isnan(raw.values[0, _column(typed, "shaped__to_single")])


def test_on_demand_code_that_changes_its_inputs_changes_nobody_elses(typed: TwoReaders) -> None:
    typed.write([("a", COMPLETE), ("b", COMPLETE), ("c", COMPLETE)])

    first = typed.read(typed.compiled, ["a", "b"], NOW_US)
    again = typed.read(typed.compiled, ["b", "c"], NOW_US)

    _assert_equal(typed.read(typed.sdk, ["a", "b"], NOW_US), first)
    _assert_equal(typed.read(typed.sdk, ["b", "c"], NOW_US), again)


def test_an_error_of_on_demand_code_is_not_taken_for_one_of_the_store(picky: TwoReaders) -> None:
    picky.write([("fine", COMPLETE), ("textless", _changed("extras", text=Value()))])

    for reader in (picky.sdk, picky.compiled):
        with pytest.raises(TypeError, match="NoneType"):
            picky.read(reader, ["textless"], NOW_US)
        assert [5.0] == picky.read(reader, ["fine"], NOW_US).values[:, _column(picky, "picky__length")].tolist()
    together = picky.read(picky.compiled, ["fine", "textless"], NOW_US)
    assert together.unread_rows is not None
    assert [False, True] == together.unread_rows.tolist()


GARBAGE = [
    pytest.param("numbers:double", b"\x29\x00\x00", id="a double cut short"),
    pytest.param("numbers:double", b"garbage", id="no message"),
    pytest.param("numbers:double", Value(string_val="much").SerializeToString(), id="text where a number belongs"),
    pytest.param(
        "numbers:single", Value(string_list_val=StringList(val=["1"])).SerializeToString(), id="a list for a number"
    ),
    pytest.param("numbers:big", b"\x20" + b"\xff" * 10 + b"\x01", id="an integer too long"),
    pytest.param("numbers:flag", b"\x38", id="a flag cut short"),
    pytest.param("extras:text", b"\x12\x02\xff\xfe", id="an input of on-demand code that is no UTF-8"),
    pytest.param(
        "extras:seen_at", Value(unix_timestamp_val=10**15).SerializeToString(), id="an input that no calendar holds"
    ),
    pytest.param("_ts:numbers", b"garbage", id="an event time that is none"),
    pytest.param("_ts:daily", Timestamp(seconds=10**12).SerializeToString(), id="an event time that no calendar holds"),
]


@pytest.mark.parametrize(("field", "garbage"), GARBAGE)
def test_a_customer_whose_stored_bytes_cannot_be_read_is_unread_and_spoils_nobody_else(
    typed: TwoReaders, caplog: pytest.LogCaptureFixture, field: str, garbage: bytes
) -> None:
    customer_id = f"{field}-{garbage.hex()}"
    typed.write([(customer_id, COMPLETE), ("sound", COMPLETE)])
    key = _redis_key("tiny", entity_key(customer_id), entity_key_serialization_version=3)
    name: str | bytes = field if field.startswith("_ts:") else _mmh3(field)
    with redis.Redis.from_url(str(typed.redis_url)) as client:
        before = client.hget(key, name)
        client.hset(key, name, garbage)

        spoilt = typed.read(typed.compiled, ["sound", customer_id], NOW_US)

        if before is None:
            client.hdel(key, name)
        else:
            client.hset(key, name, before)
    assert spoilt.unread_rows is not None
    assert [False, True] == spoilt.unread_rows.tolist()
    assert "cannot be read" in caplog.text
    assert customer_id not in caplog.text
    assert "much" not in caplog.text
    again = typed.read(typed.compiled, ["sound", customer_id], NOW_US)
    np.testing.assert_array_equal(again.values[0, 8:], again.values[1, 8:])
    np.testing.assert_array_equal(again.values[0], spoilt.values[0])


_SOME_TYPE = st.sampled_from(
    [
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.just(10**400),
        st.floats(),
        st.floats(width=32).map(np.float32),
        st.floats().map(np.float64),
        st.integers(-(2**31), 2**31 - 1).map(np.int32),
        st.integers(-(2**63), 2**63 - 1).map(np.int64),
        st.booleans().map(np.bool_),
        st.text(max_size=3) | st.sampled_from(["1.5", "7"]),
        st.binary(max_size=3),
        st.decimals(),
        st.lists(st.integers(0, 9), max_size=2),
        st.just(pd.NaT),
        st.just(pd.NA),
    ]
)


@given(
    st.sampled_from([Bool, Int32, Int64, Float32, Float64]),
    st.lists(_SOME_TYPE, min_size=1, max_size=2).flatmap(
        lambda types: st.lists(st.one_of(types), min_size=1, max_size=5) | st.one_of(types)
    ),
)
@settings(max_examples=300, deadline=None)
def test_outputs_of_on_demand_code_become_what_feast_makes_of_them(dtype: Any, returned: Any) -> None:
    field = Field(name="out", dtype=dtype)
    rows = len(returned) if isinstance(returned, list) else 3
    output = Output(1, str(dtype).lower(), partial(numbers_of, field=field))
    view: OnDemandView[str] = OnDemandView(lambda _: {"out": returned, "another": None}, {}, {"out": output})
    values = np.full((rows, 2), np.nan)
    expected: list[float] | None = None
    with suppress(Exception):
        expected = numbers_of(returned if isinstance(returned, list) else [returned], field)

    try:
        view.compute({}, values)
    except Exception:
        assert expected is None
        return

    assert expected is not None, "Feast refuses this"
    np.testing.assert_array_equal(np.broadcast_to(expected, (rows,)), values[:, 1])
    assert np.isnan(values[:, 0]).all()
