"""A Feast repository with a field of every type, and Hypothesis strategies for what may be stored in it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import (
    BoolList,
    BytesList,
    DoubleList,
    FloatList,
    Int32List,
    Int64List,
    Int64Set,
    StringList,
    StringSet,
    Value,
)
from hypothesis import strategies as st

DEFINITIONS = '''\
import os
from datetime import timedelta
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, Set, String, UnixTimestamp

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)


def view(name: str, ttl: timedelta | None, **fields: Any) -> FeatureView:
    path = os.path.join(os.environ["OFFLINE_STORE_DIR"], f"{name}.parquet")
    return FeatureView(
        name=name,
        entities=[customer],
        ttl=ttl,
        schema=[Field(name=field, dtype=dtype) for field, dtype in fields.items()],
        source=FileSource(name=name, path=path, timestamp_field="event_timestamp"),
    )


numbers = view("numbers", None, flag=Bool, small=Int32, big=Int64, single=Float32, double=Float64)
daily = view(
    "daily", timedelta(days=1), day_flag=Bool, day_small=Int32, day_big=Int64, day_single=Float32, day_double=Float64
)
# Every type that Feast takes as input of an on-demand view; not UUIDs, which the compiled reader leaves to the SDK.
extras = view(
    "extras",
    timedelta(hours=1),
    count=Int64,
    yes=Bool,
    ratio=Float32,
    amount=Float64,
    text=String,
    raw=Bytes,
    seen_at=UnixTimestamp,
    amounts=Array(Float64),
    ratios=Array(Float32),
    smalls=Array(Int32),
    bigs=Array(Int64),
    words=Array(String),
    blobs=Array(Bytes),
    flags=Array(Bool),
    visits=Array(UnixTimestamp),
    tags=Set(String),
    numbers_seen=Set(Int64),
)
request_time = RequestSource(
    name="request_time",
    schema=[Field(name="as_of", dtype=Int64, tags={"filled_by": "request_time_unix_us"})],
)


@on_demand_feature_view(
    sources=[extras, numbers[["big", "double"]], request_time],
    schema=[Field(name="echo", dtype=Int64), Field(name="inputs", dtype=Int64)],
    mode="python",
)
def echoed(inputs: dict[str, Any]) -> dict[str, Any]:
    """A checksum of every input of a row, so that no difference between two readers can hide; then spoils them."""
    import zlib

    def shown(value: Any) -> str:
        items = sorted(map(repr, value)) if isinstance(value, set) else value
        return f"{type(value).__name__} {items!r}"

    # The SDK hands over more than is declared here: other fields of the same views, and times of its own.
    undeclared = {"flag", "small", "single", "_ts:numbers", "_ts:daily", "_ts:extras"}
    names = sorted(set(inputs) - undeclared)
    rows = zip(*(inputs[name] for name in names), strict=True)
    echo = [zlib.crc32("|".join(map(shown, row)).encode()) for row in rows]
    if len(echo) > 1:  # at `apply` there is one row, of which Feast reads types
        for value in (*inputs["amounts"], *inputs["words"], *inputs["tags"]):
            if value:
                value.clear()
    return {"echo": echo, "inputs": [len(names)] * len(echo)}


@on_demand_feature_view(
    sources=[numbers[["small", "double", "flag"]], daily[["day_double", "day_big"]], request_time],
    schema=[
        Field(name="to_flag", dtype=Bool),
        Field(name="to_small", dtype=Int32),
        Field(name="to_big", dtype=Int64),
        Field(name="to_single", dtype=Float32),
        Field(name="to_double", dtype=Float64),
        Field(name="mixed", dtype=Float64),
    ],
    mode="python",
)
def shaped(inputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs of every type, with nulls, over two views; Feast infers their types from what a first row gives."""
    import numpy as np

    numbers = [x if isinstance(x, (bool, int, float)) else None for x in inputs["double"]]
    finite = [None if x is None or x != x or abs(x) > 1e9 else x for x in numbers]
    smalls = inputs["small"]
    both = zip(numbers, inputs["day_double"], inputs["day_big"])
    return {
        "to_flag": [None if x is None else x > 0 for x in finite],
        "to_small": [None if x is None else np.int32(x) for x in finite],
        "to_big": [int(x) if x is not None and x == int(x) else x for x in finite],  # a fraction is cut off
        "to_single": [None if x is None else np.float32(x) if abs(x) < 1e9 else x for x in numbers],
        "to_double": [x - y if isinstance(x, float) and isinstance(y, float) else None for x, y, _ in both],
        "mixed": [x if isinstance(x, float) else n if type(n) is int else None for x, n in zip(finite, smalls)],
    }


@on_demand_feature_view(sources=[extras[["text"]]], schema=[Field(name="length", dtype=Int64)], mode="python")
def picky(inputs: dict[str, Any]) -> dict[str, Any]:
    """Raises for some customers."""
    return {"length": [len(text) for text in inputs["text"]]}


typed_v1 = FeatureService(name="typed_v1", features=[numbers, daily, extras[["count"]], echoed, shaped])
numbers_v1 = FeatureService(name="numbers_v1", features=[numbers])
picky_v1 = FeatureService(name="picky_v1", features=[extras[["count"]], picky])
'''

NUMBERS = {"flag": "bool_val", "small": "int32_val", "big": "int64_val", "single": "float_val", "double": "double_val"}
"""Field of the view `numbers` → how Feast stores it; `daily` has the same, each with `day_` before it."""


@dataclass(frozen=True)
class Row:
    """What one view stores of one customer; a field that is left out is not in the hash at all."""

    event_time: datetime
    values: Mapping[str, Value]


def entity_key(customer_id: str) -> EntityKey:
    return EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=customer_id)])


def _stored(kind: str, value: Any) -> Value:
    return Value(**{kind: value})


_INT32 = st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]) | st.integers(-(2**31), 2**31 - 1)
_INT64 = st.sampled_from([0, 127, 128, -1, 2**53 + 1, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
_TIMES_US = st.integers(1_600_000_000_000_000, 1_700_000_000_000_000)  # as points in time are: equally long
_FLOAT = st.sampled_from(
    [0.0, -0.0, math.nan, math.inf, -math.inf, float(np.finfo(np.float32).max), 1e-45, -1e-38]
) | st.floats(width=32)
_DOUBLE = st.sampled_from(
    [0.0, -0.0, math.nan, math.inf, -math.inf, 1e308, -1.7976931348623157e308, 5e-324, 3.5e38, 0.1]
) | st.floats(width=64)
_SECONDS = st.integers(-62_135_596_800, 253_402_300_799)  # the years that a datetime may hold
_TEXT = st.text(max_size=12)

_KINDS: dict[str, st.SearchStrategy[Any]] = {
    "bool_val": st.booleans(),
    "int32_val": _INT32,
    "int64_val": _INT64 | _TIMES_US,
    "float_val": _FLOAT,
    "double_val": _DOUBLE,
}
_NUMBER_IN_OTHER_WORDS = st.one_of(
    st.builds(lambda n: Value(unix_timestamp_val=n), _SECONDS),
    st.builds(lambda x: Value(string_val=repr(x)), _DOUBLE),
    st.builds(lambda n: Value(bytes_val=str(n).encode()), _INT64),
    st.builds(lambda n: Value(decimal_val=str(n)), _INT32),
    st.builds(lambda n: Value(json_val=str(n)), _INT32),
)
_NUMBER_OF_ANY_TYPE = st.one_of(
    *(values.map(partial(_stored, kind)) for kind, values in _KINDS.items()),
    _NUMBER_IN_OTHER_WORDS,
)
NULL = Value()


def _number(kind: str, tidy: bool) -> st.SearchStrategy[Value]:
    """As declared or null; in an untidy store also of another type, as after a change of the schema."""
    values = _TIMES_US if tidy and kind == "int64_val" else _KINDS[kind]
    declared = values.map(partial(_stored, kind))
    return st.one_of(declared, declared, declared, st.just(NULL), declared if tidy else _NUMBER_OF_ANY_TYPE)


def _list_of(kind: str, message: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Value]:
    return st.lists(values, max_size=3).map(lambda items: _stored(kind, message(val=items)))


_EXTRAS: dict[str, st.SearchStrategy[Value]] = {
    "text": _TEXT.map(lambda text: Value(string_val=text)),
    "raw": st.binary(max_size=12).map(lambda raw: Value(bytes_val=raw)),
    "seen_at": (st.just(-(2**63)) | _SECONDS).map(lambda at: Value(unix_timestamp_val=at)),  # the least is null
    "amounts": _list_of("double_list_val", DoubleList, _DOUBLE),
    "ratios": _list_of("float_list_val", FloatList, _FLOAT),
    "smalls": _list_of("int32_list_val", Int32List, _INT32),
    "bigs": _list_of("int64_list_val", Int64List, _INT64),
    "words": _list_of("string_list_val", StringList, _TEXT),
    "blobs": _list_of("bytes_list_val", BytesList, st.binary(max_size=3)),
    "flags": _list_of("bool_list_val", BoolList, st.booleans()),
    "visits": _list_of("unix_timestamp_list_val", Int64List, _SECONDS),
    "tags": _list_of("string_set_val", StringSet, _TEXT),
    "numbers_seen": _list_of("int64_set_val", Int64Set, _INT64),
}
_MORE_NUMBERS = {"count": "int64_val", "yes": "bool_val", "ratio": "float_val", "amount": "double_val"}


def _fields(tidy: bool) -> dict[str, dict[str, st.SearchStrategy[Value]]]:
    """View → field → what may be stored in it."""
    return {
        "numbers": {name: _number(kind, tidy) for name, kind in NUMBERS.items()},
        "daily": {f"day_{name}": _number(kind, tidy) for name, kind in NUMBERS.items()},
        "extras": {
            **{name: _number(kind, tidy) for name, kind in _MORE_NUMBERS.items()},
            **{name: st.just(NULL) | values for name, values in _EXTRAS.items()},
        },
    }


def event_times(now: float) -> st.SearchStrategy[datetime]:
    """From the epoch, which Feast cannot tell from no row, over expired and fresh to the future; microseconds."""
    just_beside = [now - 86_400, now - 3_600, now + 60, 0.0, 0.000001]
    microseconds = st.sampled_from([round(at * 1e6) for at in just_beside]) | st.integers(0, 7_000_000_000_000_000)
    return microseconds.map(lambda at: datetime.fromtimestamp(at // 10**6, UTC).replace(microsecond=at % 10**6))


@st.composite
def customers(draw: st.DrawFn, now: float) -> list[dict[str, Row]]:
    """What is stored of 0 to 24 customers, by view; some have no row in a view, some rows lack fields."""

    def row(fields: Mapping[str, st.SearchStrategy[Value]]) -> st.SearchStrategy[Row]:
        complete = st.fixed_dictionaries(dict(fields))
        incomplete = st.fixed_dictionaries({}, optional=dict(fields))
        return st.builds(Row, event_times(now), complete | incomplete)

    views = {view: row(fields) for view, fields in _fields(tidy=draw(st.booleans())).items()}
    customer = st.fixed_dictionaries(views) | st.fixed_dictionaries({}, optional=views)
    fewest = draw(st.sampled_from([0, 20]))  # from 16 rows on, integers are decoded together
    drawn: list[dict[str, Row]] = draw(st.lists(customer, min_size=fewest, max_size=24))
    return drawn
