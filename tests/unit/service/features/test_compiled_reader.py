"""The compiled reader over a plan written by hand and a connection in memory.

`tests/integration/service/` holds it against Feast, and against real bytes in a real server.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import hiredis
import numpy as np
import pytest

from scoring.feast.on_demand import OnDemandView, Output
from service.errors import OnlineStoreUnavailableError
from service.features.compiled.decoding import TimestampDecoder, ValueDecoder
from service.features.compiled.plan import ReadHash, ReadInputs, ReadPlan, StoredColumn
from service.features.compiled.reader import RedisFeatures
from service.features.compiled.stored_inputs import Numbers

FIELDS = (b"h1", b"h2", b"h3", b"_ts:first", b"_ts:second")
AS_OF = 1_750_000_000_000_000


def read_number(stored: bytes) -> float:
    return float(stored)


def plus_hours(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """`h3` plus the request's hour; of the customer x, nothing."""
    assert inputs["h3"] is inputs["first__h3"]
    rows = zip(inputs["customer_id"], inputs["h3"], inputs["as_of"], strict=True)
    return {"sum": [None if i == "x" or h is None else h + at / 3_600_000_000 for i, h, at in rows], "other": []}


def redis_key(entity_key: str) -> bytes:
    raw = entity_key.encode()
    return b"<prefix>%b%bproject" % (len(raw).to_bytes(4, "little"), raw)


VALUES = ValueDecoder(read_number, read_number)
FIRST = ReadInputs(
    # The model's columns: the on-demand one, then the second field, then the first.
    stored=(Numbers(VALUES, "float64", (2,), (0,)), Numbers(VALUES, "int64", (1,), (1,))),
    on_demand=(
        OnDemandView(
            plus_hours, {StoredColumn(2, "float32"): ("h3", "first__h3")}, {"sum": Output(0, "float64", list)}
        ),
    ),
    columns=range(3),
    views=range(2),
)
PLAN = ReadPlan(
    join_keys=("customer_id",),
    project="project",
    hashes=(ReadHash(redis_key, FIELDS, tuple(range(5))),),
    times=(3, 4),
    columns=3,
    groups=(FIRST,),
    request_inputs=("as_of",),
    values=VALUES,
    timestamps=TimestampDecoder(read_number),
)

Hash = dict[bytes, bytes]


class Server:
    """Answers HMGET from hashes in memory, reading the commands as Redis would.

    spoil: what to make of each reply.
    """

    def __init__(self, hashes: dict[bytes, Hash], spoil: Callable[[list[Any]], Any] = lambda reply: reply) -> None:
        self._hashes = hashes
        self._spoil = spoil
        self.asked: list[list[bytes]] = []
        self.closed = False

    async def execute(self, commands: bytes, replies: int) -> list[Any]:
        reader = hiredis.Reader()
        reader.feed(commands)
        read = []
        while (command := reader.gets()) is not False:
            read.append(command)
        assert not reader.has_data()
        assert replies == len(read)
        self.asked.append([key for _, key, *_ in read])
        await asyncio.sleep(0)
        for name, _, *fields in read:
            assert (b"HMGET", list(FIELDS)) == (name, fields)
        return [self._spoil([self._hashes.get(key, {}).get(field) for field in FIELDS]) for _, key, *_ in read]

    async def close(self) -> None:
        self.closed = True


def stored(*values: str) -> Hash:
    return {field: value.encode() for field, value in zip(FIELDS, values, strict=True) if value}


async def read(server: Server, ids: Sequence[str], as_of: Any = AS_OF, plan: ReadPlan = PLAN) -> tuple[Any, Any]:
    raw = await RedisFeatures(plan, server).read(ids, as_of)
    return raw.values, raw.event_times


@pytest.mark.parametrize("customer_id", ["a", "00042", "Zoë-客户", "with\r\n$3 and \x00", "x" * 70_000])
async def test_a_key_holds_the_ids_length_in_bytes_and_survives_every_character(customer_id: str) -> None:
    raw = customer_id.encode()
    key = b"<prefix>" + len(raw).to_bytes(4, "little") + raw + b"project"
    server = Server({key: stored("1", "2", "3", "4", "5")})

    values, times = await read(server, [customer_id])

    assert [[key]] == server.asked
    assert [1.0, 2.0] == [values[0, 2], values[0, 1]]
    assert [[4.0, 5.0]] == times.tolist()


async def test_values_land_in_the_models_columns_and_null_is_no_number() -> None:
    server = Server(
        {
            redis_key("a"): stored("1.5", "2", "3", "4", "5"),
            redis_key("b"): stored("", "7", "", "6", ""),
            redis_key("x"): stored("8", "", "9", "", "7"),
        }
    )

    values, times = await read(server, ["x", "a", "nobody", "b"])

    hours = AS_OF / 3_600_000_000
    none = math.nan
    expected = [[none, none, 8.0], [3 + hours, 2.0, 1.5], [none] * 3, [none, 7.0, none]]
    np.testing.assert_array_equal(expected, values)
    np.testing.assert_array_equal([[none, 7.0], [4.0, 5.0], [none, none], [6.0, none]], times)


async def test_the_first_moment_of_1970_means_that_there_is_no_row() -> None:
    _, times = await read(Server({redis_key("a"): stored("1", "2", "3", "0", "0.000001")}), ["a"])

    np.testing.assert_array_equal([[math.nan, 0.000001]], times)


async def test_every_row_is_computed_at_its_own_time_of_request() -> None:
    hours = np.array([0, 5, 7], dtype=np.int64)

    values, _ = await read(
        Server({redis_key("a"): stored("1", "2", "3", "4", "5")}), ["a", "a", "a"], hours * 3_600_000_000
    )

    assert [3.0, 8.0, 10.0] == values[:, 0].tolist()


@pytest.mark.parametrize(("count", "chunks"), [(1, [1]), (250, [250]), (251, [250, 1]), (1000, [250] * 4)])
async def test_many_customers_are_read_in_pieces_and_keep_their_order_and_times(count: int, chunks: list[int]) -> None:
    ids = [f"id-{number}" for number in range(count)]
    server = Server({redis_key(i): stored(f"{n}", f"{n}", "0", f"{n + 1}", "1") for n, i in enumerate(ids)})
    hours = np.arange(count, dtype=np.int64)

    values, times = await read(server, ids, hours * 3_600_000_000)

    assert chunks == [len(asked) for asked in server.asked]
    assert [[float(n)] * 3 for n in range(count)] == values.tolist()
    assert [[n + 1.0, 1.0] for n in range(count)] == times.tolist()


async def test_a_feature_service_without_on_demand_views_needs_none() -> None:
    plan = replace(PLAN, groups=(replace(FIRST, on_demand=()),), request_inputs=())

    values, _ = await read(Server({redis_key("a"): stored("1", "2", "3", "4", "5")}), ["a"], plan=plan)

    np.testing.assert_array_equal([[math.nan, 2.0, 1.0]], values)


def _short(reply: list[Any]) -> Any:
    return reply[:-1]


def _long(reply: list[Any]) -> Any:
    return [*reply, b"1"]


def _status(_: list[Any]) -> Any:
    return b"OK at"


def _number(_: list[Any]) -> Any:
    return 5


def _text(reply: list[Any]) -> Any:
    return [b"secret", *reply[1:]]


def _input(reply: list[Any]) -> Any:
    return [*reply[:2], b"secret", *reply[3:]]


def _time(reply: list[Any]) -> Any:
    return [*reply[:-1], b"secret"]


@pytest.mark.parametrize("spoil", [_short, _long, _status, _number, _text, _input, _time])
@pytest.mark.parametrize("count", [1, 600])
async def test_a_customer_whose_answer_makes_no_sense_is_unread(
    caplog: pytest.LogCaptureFixture, spoil: Callable[[list[Any]], Any], count: int
) -> None:
    server = Server({redis_key("a"): stored("1", "2", "3", "4", "5")}, spoil)

    raw = await RedisFeatures(PLAN, server).read(["a"] * count, 0)

    assert raw.unread is not None
    assert raw.unread.all()
    assert np.isnan(raw.values).all()
    assert "cannot be read" in caplog.text
    assert "secret" not in caplog.text


async def test_an_error_of_on_demand_code_is_not_taken_for_one_of_the_store() -> None:
    def broken(_: dict[str, list[Any]]) -> dict[str, list[Any]]:
        raise ValueError("ours")

    plan = replace(PLAN, groups=(replace(FIRST, on_demand=(replace(FIRST.on_demand[0], transform=broken),)),))

    with pytest.raises(ValueError, match="ours"):
        await read(Server({}), ["a"], plan=plan)


async def test_what_the_connection_raises_comes_through() -> None:
    def down(_: list[Any]) -> Any:
        raise OnlineStoreUnavailableError("down")

    with pytest.raises(OnlineStoreUnavailableError, match="down"):
        await read(Server({}, down), ["a"] * 300)


async def test_closing_closes_the_connection() -> None:
    server = Server({})

    await RedisFeatures(PLAN, server).close()

    assert server.closed


async def test_what_only_a_challenger_reads_is_nothing_to_the_champion_when_it_fails() -> None:
    def broken(_: dict[str, list[Any]]) -> dict[str, list[Any]]:
        raise ZeroDivisionError

    of_champion = replace(FIRST, on_demand=(), columns=range(1, 3), views=range(1))
    of_challenger = ReadInputs((), (replace(FIRST.on_demand[0], transform=broken),), range(1), range(1, 2))
    plan = replace(PLAN, groups=(of_champion, of_challenger))
    server = Server({redis_key("a"): stored("1", "2", "3", "4", "5")})

    raw = await RedisFeatures(plan, server).read(["a"], 0)

    np.testing.assert_array_equal([[math.nan, 2.0, 1.0]], raw.values)
    assert raw.unread is not None
    assert [[True, False, False]] == raw.unread.tolist()
