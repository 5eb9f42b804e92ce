"""What an online store promises the predictor.

Held against the fake; against the compiled reader over a real Valkey; and against Feast's SDK over a real Valkey, a
real PostgreSQL and SQLite.
"""

import asyncio
import json
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from artefacts.addresses import PROJECT_ROOT
from contract import ModelContract, RawFeatures, Resolver
from service.features.compiled.reader import RedisFeatures
from service.features.feast_sdk import FeastOnlineFeatures
from service.features.port import OnlineFeatures
from tests.integration.service.conftest import COMPILED, OTHER_STORES, TinyFeast
from tests.models.fakes import (
    ACTIVITY,
    ACTIVITY_TTL,
    DAY,
    DAYS_SINCE,
    DEFAULTS,
    MEMBER,
    NOW,
    NOW_US,
    ORDERS,
    ORDERS_30D,
    PROFILE,
    SPEND,
    FakeOnlineFeatures,
    Rows,
    customer,
    small_contract,
    small_schema,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS: dict[str, Rows] = {
    "00042": customer(),
    "42": customer(spend=-0.1, orders=1, orders_30d=0, member=0, days_since=400.0, profile_age=400 * DAY),
    "Zoë-客户": customer(spend=1e-12, orders=2**53 - 1),
    "Ω🛒\x00\n $5": customer(orders=7),
    "long-" * 2000: customer(orders=8),
    "no-nulls-but-old": customer(activity_age=ACTIVITY_TTL + 1),
    "nulls": customer(spend=None, orders_30d=None, member=None, days_since=None),
    "profile-only": {PROFILE: customer(profile_age=7.25)[PROFILE]},
    "activity-only": {ACTIVITY: customer(activity_age=0.000001)[ACTIVITY]},
}
COLUMN = {name: column for column, name in enumerate(DEFAULTS)}


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()


@pytest.fixture(scope="module")
def stored(feast: TinyFeast) -> TinyFeast:
    feast.write(CUSTOMERS)
    return feast


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["fake", *COMPILED, *OTHER_STORES])
async def features(request: pytest.FixtureRequest) -> AsyncIterator[OnlineFeatures]:
    """The store under test, holding `CUSTOMERS`."""
    if request.param == "fake":
        yield FakeOnlineFeatures(small_contract(), CUSTOMERS)
        return
    if request.param in COMPILED:
        stored: TinyFeast = request.getfixturevalue("stored")
    else:
        stored = request.getfixturevalue("elsewhere")(request.param)
        stored.write(CUSTOMERS)
    opened = stored.open(request.getfixturevalue("contract"), compiled=COMPILED.get(request.param, True)).features
    assert {"compiled": RedisFeatures}.get(request.param, FeastOnlineFeatures) is type(opened)
    yield opened
    await opened.close()


def _times(raw: RawFeatures) -> list[list[float]]:
    assert raw.event_times is not None
    return [list(row) for row in raw.event_times]


async def test_values_land_in_contract_order(features: OnlineFeatures) -> None:
    raw = await features.read(["00042"], NOW_US)

    assert (1, 5) == raw.values.shape
    assert np.dtype(np.float64) == raw.values.dtype
    expected = {DAYS_SINCE: 10.0, ORDERS_30D: 2.0, SPEND: 120.0, MEMBER: 1.0, ORDERS: 4.0}
    assert expected == dict(zip(DEFAULTS, raw.values[0], strict=True))


async def test_rows_come_in_the_order_asked(features: OnlineFeatures) -> None:
    asked = ["nulls", "42", "nobody", "Zoë-客户", "00042", "no-nulls-but-old"]

    there = await features.read(asked, NOW_US)
    back = await features.read(asked[::-1], NOW_US)

    spend = [math.nan, -0.1, math.nan, 1e-12, 120.0, 120.0]
    np.testing.assert_array_equal(spend, there.values[:, COLUMN[SPEND]])
    np.testing.assert_array_equal(there.values, back.values[::-1])
    np.testing.assert_array_equal(_times(there), _times(back)[::-1])


async def test_ids_are_text_and_a_leading_zero_counts(features: OnlineFeatures) -> None:
    raw = await features.read(["42", "00042", "042"], NOW_US)

    np.testing.assert_array_equal([1, 4, math.nan], raw.values[:, COLUMN[ORDERS]])


async def test_an_unknown_customer_has_neither_values_nor_event_times(features: OnlineFeatures) -> None:
    raw = await features.read(["nobody", "00042"], NOW_US)

    assert np.isnan(raw.values[0]).all()
    assert np.isnan(_times(raw)[0]).all()
    assert not np.isnan(_times(raw)[1]).any()


async def test_a_null_is_no_number_but_its_row_is_there(features: OnlineFeatures) -> None:
    raw = await features.read(["nulls"], NOW_US)

    missing = {name for name in DEFAULTS if math.isnan(raw.values[0, COLUMN[name]])}
    assert {SPEND, ORDERS_30D, MEMBER, DAYS_SINCE} == missing
    assert [[NOW - 10 * DAY, NOW - DAY / 2]] == _times(raw)


async def test_values_are_exact_to_the_last_digit(features: OnlineFeatures) -> None:
    raw = await features.read(["Zoë-客户"], NOW_US)

    assert (1e-12, 2.0**53 - 1) == (raw.values[0, COLUMN[SPEND]], raw.values[0, COLUMN[ORDERS]])


async def test_event_times_are_exact_to_the_microsecond_in_the_contracts_view_order(
    features: OnlineFeatures, request: pytest.FixtureRequest
) -> None:
    raw = await features.read(["42", "profile-only", "activity-only"], NOW_US)

    assert (PROFILE, ACTIVITY) == Resolver.of(small_contract()).views
    expected = np.array([[NOW - 400 * DAY, NOW - DAY / 2], [NOW - 7.25, math.nan], [math.nan, NOW - 0.000001]])
    if request.node.callspec.params["features"] == "sqlite":  # Feast writes whole seconds there
        expected = np.floor(expected)
    np.testing.assert_allclose(_times(raw), expected, rtol=0, atol=2.5e-7)


async def test_a_view_without_a_row_leaves_the_other_views_values_alone(features: OnlineFeatures) -> None:
    raw = await features.read(["profile-only", "activity-only"], NOW_US)

    profile, activity = (dict(zip(DEFAULTS, row, strict=True)) for row in raw.values)
    assert {ORDERS_30D, MEMBER} == {name for name, value in profile.items() if math.isnan(value)}
    assert {ORDERS, SPEND, DAYS_SINCE} == {name for name, value in activity.items() if math.isnan(value)}


async def test_no_ttl_is_enforced_on_the_way_so_that_the_contract_can(features: OnlineFeatures) -> None:
    raw = await features.read(["no-nulls-but-old", "00042"], NOW_US)

    assert [2.0, 2.0] == list(raw.values[:, COLUMN[ORDERS_30D]])
    resolved = Resolver.of(small_contract()).resolve(raw, NOW)
    assert [[ORDERS_30D, MEMBER], []] == [[i.feature for i in resolved.issues(row)] for row in (0, 1)]


@pytest.mark.parametrize("hours", [0, 1, 36, 24 * 365, -1])
async def test_on_demand_values_are_computed_from_the_time_of_the_request(features: OnlineFeatures, hours: int) -> None:
    raw = await features.read(["00042", "42"], NOW_US + hours * 3_600_000_000)

    expected = [10 + hours / 24, 400 + hours / 24]
    np.testing.assert_allclose(raw.values[:, COLUMN[DAYS_SINCE]], expected, rtol=0, atol=1e-9)


async def test_rows_read_together_each_have_their_own_time_of_request(features: OnlineFeatures) -> None:
    hours = np.array([0, 36, -1, 1], dtype=np.int64)

    raw = await features.read(["00042", "42", "nobody", "00042"], NOW_US + hours * 3_600_000_000)

    expected = [10.0, 400 + 1.5, math.nan, 10 + 1 / 24]
    np.testing.assert_allclose(raw.values[:, COLUMN[DAYS_SINCE]], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("customer_id", list(CUSTOMERS))
async def test_a_row_read_alone_equals_the_same_row_read_with_others(
    features: OnlineFeatures, customer_id: str
) -> None:
    together = await features.read(["nobody", *CUSTOMERS], NOW_US)

    alone = await features.read([customer_id], NOW_US)

    row = 1 + list(CUSTOMERS).index(customer_id)
    np.testing.assert_array_equal(together.values[[row]], alone.values)
    np.testing.assert_array_equal([_times(together)[row]], _times(alone))


async def test_an_id_asked_for_twice_is_answered_twice(features: OnlineFeatures) -> None:
    raw = await features.read(["42", "nobody", "42", "00042", "nobody", "42"], NOW_US)

    np.testing.assert_array_equal([1, math.nan, 1, 4, math.nan, 1], raw.values[:, COLUMN[ORDERS]])
    assert [False, True, False, False, True, False] == [bool(np.isnan(times).all()) for times in _times(raw)]


async def test_ids_may_hold_any_character_and_be_long(features: OnlineFeatures) -> None:
    raw = await features.read(["Ω🛒\x00\n $5", "long-" * 2000, "Ω🛒", "long-" * 1999], NOW_US)

    np.testing.assert_array_equal([7, 8, math.nan, math.nan], raw.values[:, COLUMN[ORDERS]])


@pytest.mark.parametrize("count", [1, 30])
async def test_customers_of_whom_nobody_is_known_are_rows_without_anything(
    features: OnlineFeatures, count: int
) -> None:
    raw = await features.read([f"nobody-{i}" for i in range(count)], NOW_US)

    assert (count, len(DEFAULTS)) == raw.values.shape
    assert np.isnan(raw.values).all()
    assert [[True, True]] * count == np.isnan(_times(raw)).tolist()


async def test_a_thousand_ids_are_read_in_the_order_asked(features: OnlineFeatures) -> None:
    # Beyond what the adapters read in one go, with known customers on both sides of every seam.
    known = {0: "00042", 99: "42", 100: "00042", 249: "42", 250: "00042", 499: "nulls", 500: "42", 999: "00042"}
    hours = np.arange(1000, dtype=np.int64)

    raw = await features.read([known.get(i, f"nobody-{i}") for i in range(1000)], NOW_US + hours * 3_600_000_000)

    assert list(known) == np.flatnonzero(~np.isnan(np.array(_times(raw))).any(axis=1)).tolist()
    orders = [4.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0]
    assert orders == raw.values[list(known), COLUMN[ORDERS]].tolist()
    expected = [10 + 0, 400 + 99 / 24, 10 + 100 / 24, 400 + 249 / 24, 10 + 250 / 24, math.nan, 400 + 500 / 24]
    np.testing.assert_allclose(raw.values[list(known)[:-1], COLUMN[DAYS_SINCE]], expected, rtol=0, atol=1e-9)


async def test_many_customers_are_read_at_once(features: OnlineFeatures) -> None:
    asked = [name for i in range(200) for name in (f"nobody-{i}", list(CUSTOMERS)[i % 2])]
    distinct = list(dict.fromkeys(asked))

    raw = await features.read(distinct, NOW_US)

    assert len(distinct) == len(raw.values)
    assert {"00042", "42"} == {distinct[row] for row in np.flatnonzero(~np.isnan(raw.values[:, COLUMN[SPEND]]))}


async def test_reads_at_the_same_time_do_not_mix(features: OnlineFeatures) -> None:
    answers = await asyncio.gather(*(features.read([name], NOW_US) for name in ["00042", "42"] * 20))

    assert [4.0, 1.0] * 20 == [raw.values[0, COLUMN[ORDERS]] for raw in answers]


async def test_the_contract_written_by_hand_is_what_the_registry_offers(contract: ModelContract) -> None:
    transformations = contract.feature_schema.transformations

    assert {"recency"} == set(transformations)
    assert small_schema(transformations=transformations) == contract.feature_schema


_READ_ELSEWHERE = """
import asyncio, json, os, sys
from pathlib import Path
from contract import ModelContract
from artefacts.addresses import Artefacts
from service.features.opening import open_feast

contract = ModelContract.from_json(sys.stdin.read())
compiled = sys.argv[3] == "compiled"
artefacts = Artefacts.of(os.environ)
features = open_feast(Path(sys.argv[1]), artefacts, contract, compiled=compiled, stall_seconds=30).features
raw = asyncio.run(features.read(["42", "00042"], int(sys.argv[2])))
print(json.dumps([raw.values.tolist(), raw.event_times.tolist()]))
"""


@pytest.mark.parametrize(("seed", "reader"), [("0", "sdk"), ("1", "compiled"), ("4242", "sdk"), ("4243", "compiled")])
async def test_values_land_in_contract_order_whatever_the_hash_seed(
    stored: TinyFeast, contract: ModelContract, seed: str, reader: str
) -> None:
    addresses = {"REDIS_URL": str(stored.artefacts.redis_url), "FEAST_REGISTRY": stored.artefacts.feast_registry}

    done = subprocess.run(
        [sys.executable, "-c", _READ_ELSEWHERE, str(stored.repo), str(NOW_US), reader],
        input=contract.to_json(),
        cwd=PROJECT_ROOT,
        env={**os.environ, **addresses, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    here = await FakeOnlineFeatures(small_contract(), CUSTOMERS).read(["42", "00042"], NOW_US)
    assert [here.values.tolist(), _times(here)] == json.loads(done.stdout.splitlines()[-1])
