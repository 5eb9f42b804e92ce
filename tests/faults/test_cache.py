"""With `SERVICE_CACHE_ROWS`, customers that were asked for before are answered while Redis fails, and it shows."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import CUSTOMERS, FAULT_SECONDS, Bench, filled_valkey, open_bench
from tests.faults.load import Exchange, at_once
from tests.faults.promises import Measurement, rows_of
from tests.loop import Loop

STRANGERS = [[f"{number:05d}"] for number in range(1, 21)]
"""Known to the store; nobody asks for them before it fails."""


@pytest.fixture(scope="module")
def bench(
    loop: Loop, stored: Path, table: list[Measurement], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("cache")
    with (
        filled_valkey(stored, folder / "redis") as server,
        open_bench(loop, server, folder / "service", table, settings={"SERVICE_CACHE_ROWS": "1000"}) as bench,
    ):
        yield bench


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_known_customers_are_answered_with_flagged_features_and_others_refused(bench: Bench, how: str) -> None:
    """Also those who are asked for in the same instant as others, and so are looked up together with them."""
    truth = bench.truth()

    def flagged(exchange: Exchange) -> bool:
        rows = rows_of(exchange) if exchange.status == 200 else []
        return bool(rows) and all(truth.agrees_but_is_flagged(row) for row in rows)

    with bench.fault(f"Redis {how}, last known good features kept", flagged) as fault:
        bench.redis.kill() if how == "killed" else bench.redis.stop_signal()
        time.sleep(FAULT_SECONDS)
        together = at_once(bench.service.port, [*([customer] for customer in CUSTOMERS[:20]), *STRANGERS])
        mixed = bench.service.call("POST", "/predict_batch", {"customer_ids": [CUSTOMERS[0], *STRANGERS[0]]})
        health = bench.service.health()
        bench.redis.restart() if how == "killed" else bench.redis.cont_signal()

    assert all(map(flagged, together[:20]))
    assert {503} == {exchange.status for exchange in together[20:]}
    assert 503 == mixed.status, "half a batch would look like an answer"
    assert (503, 200) == health
    assert {"200", "200 from the cache"} == fault.outcomes.keys()
    assert fault.outcomes["200 from the cache"] > 50
    assert bench.service.metric("model_service_cached_rows_total") > 100
