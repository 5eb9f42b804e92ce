"""Keys of numbers and of several values, and the request's values, from the predictor to the log."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contract import Key
from contract.feature_union import FeatureUnion
from scoring.inference_log import Answers, log_table
from service.features.guard import GuardedFeatures, LastKnownGood
from service.prediction.challenger import Challenger
from service.prediction.predictions import row_members
from service.prediction.predictor import Predictor
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import NOW_US, FakeOnlineFeatures
from tests.models.typed import KEY, purchase, typed_contract, typed_model, typed_store

AMOUNTS = {"amount": 10.0, "channel": "web", "items": 1, "gift": False, "at": None}
OTHER = (2**53 + 1, "m1")


class Log:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[Answers] = []

    def put(self, answers: Answers) -> None:
        self.kept.append(answers)


def built(folder: Path, log: Log | None = None, **options: Any) -> tuple[Predictor, FakeOnlineFeatures]:
    contract = typed_contract()
    store = typed_store({KEY: purchase(), OTHER: purchase(balance=20.0, visits=8)}, contract)
    return Predictor(typed_model(folder, contract), store, metrics(), log=log, **options), store


def metrics() -> ServiceMetrics:
    return ServiceMetrics("small_churn", CollectorRegistry())


def columns(*amounts: float) -> dict[str, list[Any]]:
    """Request values of as many rows."""
    return {name: list(amounts) if name == "amount" else [value] * len(amounts) for name, value in AMOUNTS.items()}


async def test_an_answer_names_every_key_in_the_order_of_the_contract(tmp_path: Path) -> None:
    predictor, store = built(tmp_path)

    prediction = await predictor.predict_one(KEY, NOW_US, given=AMOUNTS)

    assert ([[KEY]], "ok") == (store.asked, prediction.status)
    row = prediction.row(row_members(predictor.model.contract))
    assert [("customer_id", 7), ("merchant_id", "m1")] == list(row.items())[:2]


@pytest.mark.parametrize(
    ("key", "answered"),
    [(2**53, 2**53), (-(2**53), -(2**53)), (2**53 + 1, "9007199254740993"), (-(2**63), str(-(2**63)))],
)
async def test_a_number_that_a_json_reader_may_round_is_answered_as_text(
    key: int, answered: object, tmp_path: Path
) -> None:
    predictor, _ = built(tmp_path)

    (prediction,) = await predictor.predict([(key, "m1")], NOW_US, given=columns(10.0))

    assert answered == prediction.row(row_members(predictor.model.contract))["customer_id"]


async def test_rows_of_one_key_with_other_values_are_other_rows(tmp_path: Path) -> None:
    predictor, store = built(tmp_path)

    first, second, again = await predictor.predict([KEY] * 3, NOW_US, given=columns(10.0, 40.0, 10.0))

    assert [[KEY, KEY]] == store.asked
    assert [[10.0, 40.0]] == [list(given["amount"]) for given in store.given if given]
    assert first == again
    assert first.outputs != second.outputs


async def test_requests_that_arrive_together_keep_their_own_values(tmp_path: Path) -> None:
    predictor, store = built(tmp_path)
    amounts = [5.0, 10.0, 20.0, 40.0]

    alone = [await predictor.predict_one(KEY, NOW_US, given={**AMOUNTS, "amount": amount}) for amount in amounts]
    store.gate = asyncio.Event()
    asked = [
        asyncio.ensure_future(predictor.predict_one(KEY, NOW_US, given={**AMOUNTS, "amount": amount}))
        for amount in amounts
    ]
    while len(store.asked) == len(amounts):  # the first waits for the store, the others for each other
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    store.gate.set()
    together = await asyncio.gather(*asked)

    assert alone == together
    assert max(map(len, store.asked)) > 1


async def test_a_look_up_takes_the_requests_values(tmp_path: Path) -> None:
    predictor, _ = built(tmp_path)

    found = await predictor.look_up(KEY, NOW_US, given={**AMOUNTS, "items": 2, "gift": True})

    assert 10.0 * 4 / 50.0 == pytest.approx(float(found.resolved.matrix[0, 0]))


async def test_a_readiness_probe_asks_for_a_key_and_values_of_the_contracts_types(tmp_path: Path) -> None:
    predictor, store = built(tmp_path)

    assert await predictor.can_read(NOW_US)

    assert [[(-(2**63), "readiness-probe")]] == store.asked
    ((given,),) = [store.given]
    assert given is not None
    assert ["float", "str", "int", "bool", "datetime"] == [type(value).__name__ for (value,) in given.values()]


async def test_the_store_can_be_read_although_on_demand_code_takes_no_made_up_values(tmp_path: Path) -> None:
    predictor, store = built(tmp_path)
    store.failure = ValueError("math domain error")

    assert await predictor.can_read(NOW_US)


async def test_a_readiness_probe_gives_the_defaults_that_a_request_may_leave_out(tmp_path: Path) -> None:
    predictor, store = built(tmp_path)

    await predictor.can_read(NOW_US)

    ((given,),) = [store.given]
    assert given is not None
    assert ["web"] == given["channel"]


async def test_the_cache_keeps_a_row_for_each_value_of_a_request(tmp_path: Path) -> None:
    contract = typed_contract()
    store = typed_store({KEY: purchase()}, contract)
    guarded = GuardedFeatures(store, 1.0, metrics(), LastKnownGood(10, 60.0), FeatureUnion.of(contract))
    predictor = Predictor(typed_model(tmp_path, contract), guarded, metrics())
    before = await predictor.predict([KEY, KEY], NOW_US, given=columns(10.0, 40.0))
    store.gate = asyncio.Event()

    after = await predictor.predict([KEY, KEY], NOW_US, given=columns(10.0, 40.0))

    assert [made.outputs for made in before] == [made.outputs for made in after]
    assert {"degraded"} == {made.status for made in after}


def share(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


@pytest.mark.parametrize(("key", "text"), [("00042", "00042"), (42, "42"), ((7, "m 1"), '[7,"m 1"]')])
def test_a_canarys_share_is_by_the_hash_of_the_keys_canonical_text(key: Key, text: str, tmp_path: Path) -> None:
    contract = typed_contract()
    model = typed_model(tmp_path, contract, role="challenger")
    at = share(text)
    shares = [at - 1e-6, at + 1e-6]

    answers = []
    for of_all in shares:
        challenger = Challenger(model, FeatureUnion.of(contract), "canary", of_all, metrics(), 0.1)
        answers.append(challenger.answers(key))
        challenger.close()

    assert [False, True] == answers


async def test_the_log_has_a_column_of_each_key_and_one_of_the_requests_values(tmp_path: Path) -> None:
    log = Log()
    predictor, _ = built(tmp_path, log)

    await predictor.predict([KEY, OTHER], NOW_US, given=columns(10.0, 12.5))

    (answers,) = log.kept
    rows = log_table(answers).to_pylist()
    assert [7, 2**53 + 1] == [row["customer_id"] for row in rows]
    assert ["m1", "m1"] == [row["merchant_id"] for row in rows]
    text = '{"amount":12.5,"at":null,"channel":"web","gift":false,"items":1}'
    assert text == rows[1]["request_inputs"]
    assert 12.5 == json.loads(text)["amount"]


async def test_features_without_a_prediction_are_read_together_and_not_logged(tmp_path: Path) -> None:
    log = Log()
    predictor, store = built(tmp_path, log)

    read, at = await predictor.read_features([KEY, OTHER, KEY, KEY], NOW_US, columns(10.0, 10.0, 10.0, 20.0))

    assert ([[KEY, OTHER, KEY]], [0, 1, 0, 2]) == (store.asked, at)
    assert ["ok", "ok", "ok"] == list(read.statuses)
    assert [] == log.kept
