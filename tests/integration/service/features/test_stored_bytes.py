"""Whatever is stored of some: the others are answered, those are read as Feast's SDK reads them, or not at all.

Tens of thousands of customers with bytes of all kinds in a real server, read by the compiled reader and by the SDK.
"""

import math
import random
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import redis
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.Value_pb2 import DoubleList, Int64List, Map, StringList, Value
from google.protobuf.timestamp_pb2 import Timestamp

from contract import RawFeatures
from service.features import feast_sdk as feast_features
from tests.integration.service.conftest import TinyFeast, tiny_feast
from tests.integration.service.features.test_compiled_reader import COMPLETE, TwoReaders, _open
from tests.integration.service.features.typed_values import DEFINITIONS, entity_key
from tests.models.fakes import NOW, NOW_US

CUSTOMERS = {"numbers_v1": 36_000, "typed_v1": 4_000}
"""With the replies of `redis/test_reply_stream.py`, 100,000 cases; on-demand code over every type takes longest."""
AT_ONCE = 1_000
THROUGH_THE_SDK_ALONE = 120

FIELDS: dict[str, bytes] = {
    f"{view}:{name}": value.SerializeToString() for view, row in COMPLETE.items() for name, value in row.values.items()
}
"""`view:field` → what is stored of a customer with whom nothing is wrong."""

TIME = Timestamp(seconds=int(NOW) - 60).SerializeToString()
TIMES = {f"_ts:{view}": TIME for view in COMPLETE}


def some_values(chance: random.Random) -> list[bytes]:
    """Values of every kind that `ValueProto` knows, right and wrong for any field, and bytes that are none."""
    number = chance.choice([0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 1e308, 5e-324, chance.uniform(-1e6, 1e6)])
    whole = chance.choice([0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), chance.randrange(10**15)])
    text = chance.choice(["", "1.5", "nan", "much", "1_000", "٣", "x" * 200, "\n*2147483647\r\n"])
    values = [
        Value(double_val=number),
        Value(float_val=chance.uniform(-9, 9)),
        Value(int64_val=whole),
        Value(int32_val=chance.randrange(-(2**31), 2**31)),
        Value(bool_val=chance.random() < 0.5),
        Value(string_val=text),
        Value(bytes_val=text.encode()),
        Value(unix_timestamp_val=whole % 10**10),
        Value(double_list_val=DoubleList(val=[number])),
        Value(int64_list_val=Int64List(val=[whole] * chance.randrange(3))),
        Value(string_list_val=StringList(val=[text])),
        Value(map_val=Map(val={"a": Value(int64_val=whole)})),
        Value(),
    ]
    made = [value.SerializeToString() for value in values]
    one, other = chance.choice(made), chance.choice(made)
    return [
        *made,
        one[: chance.randrange(len(one) + 1)],
        one + other,
        one + b"\x00",
        one + b"\xf8\x7f\x01",  # a field that nobody knows
        b"\xf8\x7f\x01" + one,
        chance.randbytes(chance.randrange(12)),
        b"\x20" + b"\xff" * chance.randrange(12) + b"\x01",
        b"\x29" + chance.randbytes(8),
        b"\x35" + chance.randbytes(4),
        b"\x12\x02\xff\xfe",
        bytes(byte ^ (chance.random() < 0.1) for byte in one),
        struct.pack("<d", number),
    ]


def some_times(chance: random.Random) -> list[bytes]:
    """Event times: none, the epoch, far away, cut, and such as no calendar holds."""
    at = [
        Timestamp(),
        Timestamp(seconds=-62_135_596_800),
        Timestamp(seconds=253_402_300_799, nanos=999_999_999),
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=-(2**63)),
        Timestamp(seconds=2**63 - 1),
        Timestamp(seconds=int(NOW), nanos=chance.randrange(10**9)),
        Timestamp(seconds=chance.randrange(-(10**9), 10**10)),
    ]
    made = [each.SerializeToString() for each in at]
    return [*made, chance.choice(made)[:-1], chance.randbytes(chance.randrange(9)), TIME + b"\x18\x01", b"garbage"]


def spoilt(chance: random.Random) -> dict[str, bytes]:
    """A customer of whom one to three stored fields are replaced or taken out."""
    fields = {**FIELDS, **TIMES}
    for name in chance.sample(list(fields), chance.choice((1, 1, 2, 3))):
        if chance.random() < 0.1:
            del fields[name]
        else:
            fields[name] = chance.choice(some_times(chance) if name.startswith("_ts:") else some_values(chance))
    return fields


@pytest.fixture(scope="module")
def feast(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> TinyFeast:
    feast = tiny_feast(tmp_path_factory.mktemp("stored_bytes"), valkey, DEFINITIONS)
    feast.apply()
    return feast


@pytest.fixture(params=["numbers_v1", "typed_v1"])
def readers(feast: TinyFeast, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoReaders]:
    # However busy the machine is, the SDK is asked again until all that can be read are.
    monkeypatch.setattr(feast_features, "_SEARCH_SECONDS", 60.0)
    readers = _open(feast, request.param)
    with readers.loop as loop:
        yield readers
        for reader in (readers.sdk, readers.compiled):
            loop.run(reader.close())


def store(url: str | None, rows: Sequence[tuple[str, dict[str, bytes]]]) -> None:
    """Write stored bytes as they are."""
    names: dict[str, Any] = {name: name if name.startswith("_ts:") else _mmh3(name) for name in {**FIELDS, **TIMES}}
    with redis.Redis.from_url(str(url)) as client, client.pipeline(transaction=False) as pipe:
        for customer_id, fields in rows:
            key = _redis_key("tiny", entity_key(customer_id), entity_key_serialization_version=3)
            pipe.hset(key, mapping={names[name]: value for name, value in fields.items()})
        pipe.execute()


def unread_of(raw: RawFeatures) -> np.ndarray[Any, np.dtype[np.bool_]]:
    rows = raw.unread_rows
    return np.zeros(len(raw.values), dtype=bool) if rows is None else rows


def assert_equal(expected: RawFeatures, actual: RawFeatures, rows: Any) -> None:
    np.testing.assert_array_equal(expected.values[rows], actual.values[rows])
    one, other = (np.asarray(raw.event_times)[rows] for raw in (expected, actual))
    np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)  # the SDK's are in microseconds


def test_whatever_is_stored_of_some_customers_the_others_are_answered(
    readers: TwoReaders, caplog: pytest.LogCaptureFixture
) -> None:
    customers = CUSTOMERS[readers.contract.feature_schema.feature_service]
    chance = random.Random(customers)
    store(readers.redis_url, [("sound", {**FIELDS, **TIMES})])
    sound = readers.read(readers.compiled, ["sound"], NOW_US)
    read = unread = 0
    for batch in range(customers // AT_ONCE):
        spoilt_ids = [f"{batch}-{number}" for number in range(AT_ONCE)]
        store(readers.redis_url, [(customer_id, spoilt(chance)) for customer_id in spoilt_ids])
        asked = [*spoilt_ids, *["sound"] * 50, *["nobody"] * 50]
        chance.shuffle(asked)
        is_sound = np.array([customer_id == "sound" for customer_id in asked])
        caplog.clear()

        raw = readers.read(readers.compiled, asked, NOW_US)

        failed = unread_of(raw)
        assert not failed[is_sound].any()
        np.testing.assert_array_equal(np.broadcast_to(sound.values, (50, raw.values.shape[1])), raw.values[is_sound])
        assert np.isnan(raw.values[failed]).all()
        assert len(caplog.messages) <= 6, "more than a line for each part of a read, and one for the connection"
        # What it has read is what the SDK reads.
        rows = np.flatnonzero(~failed)
        through_the_sdk = readers.read(readers.sdk, [asked[row] for row in rows], NOW_US)
        refused = unread_of(through_the_sdk)
        assert refused.sum() <= len(rows) // 100, "the SDK alone decodes what on-demand code does not declare"
        assert_equal(through_the_sdk, raw.take(rows), ~refused)
        read, unread = read + len(rows), unread + int(failed.sum())

    assert min(read, unread) > customers // 10, "too few of one kind to say anything"


def test_through_the_sdk_too_what_cannot_be_read_is_nobody_elses_failure(readers: TwoReaders) -> None:
    chance = random.Random(3)
    ids = [f"sdk-{number}" for number in range(THROUGH_THE_SDK_ALONE)]
    store(readers.redis_url, [("sound", {**FIELDS, **TIMES}), *((customer_id, spoilt(chance)) for customer_id in ids)])
    sound = readers.read(readers.compiled, ["sound"], NOW_US)
    failed = 0
    for start in range(0, len(ids), 4):
        asked = ["sound", *ids[start : start + 4]]

        raw = readers.read(readers.sdk, asked, NOW_US)
        compiled = readers.read(readers.compiled, asked, NOW_US)

        np.testing.assert_array_equal(sound.values[0], raw.values[0])
        both = ~unread_of(raw) & ~unread_of(compiled)
        assert_equal(raw, compiled, both)
        failed += int(unread_of(raw).sum())

    assert failed > THROUGH_THE_SDK_ALONE // 10
