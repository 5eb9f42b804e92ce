"""Training and serving see the same numbers: the reason why this project exists."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from artefacts.addresses import Artefacts
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from jobs.offline_store.builds import read_build
from tests.loop import SOURCE, Loop
from training.churn.source.addresses import OrderAddresses

READERS = {"compiled": "RedisFeatures", "sdk": "FeastOnlineFeatures"}


@dataclass(frozen=True)
class Materialized:
    """A Redis of its own, holding what was known at one time."""

    at: datetime
    environment: dict[str, str]
    contract: Path

    def parity(self, seed: str, reader: str, *plants: str) -> dict[str, Any]:
        """What `tests.parity` finds; `reader` is one of `READERS`."""
        done = subprocess.run(
            [
                sys.executable,
                *("-m", "tests.parity"),
                *("--contract", str(self.contract)),
                *("--at", self.at.isoformat()),
                *("--reader", reader),
                *("--plant", *(plants or ("nothing",))),
            ],
            cwd=SOURCE,
            env={**os.environ, **self.environment, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert {READERS[reader]} == {found["reader"] for found in result.values()}
        return result


def _materialize(loop: Loop, folder: Path, days_before_end: float) -> Iterator[Materialized]:
    made = Artefacts.of({}, root=loop.root)
    at = datetime.fromisoformat(read_build(made.offline_store).observed_until) - timedelta(days=days_before_end)
    environment = {
        "REDIS_URL": embedded_redis.start(root=folder),
        "FEAST_REGISTRY": made.feast_registry,
        "OFFLINE_STORE_DIR": str(made.offline_store),
        "ORDERS_PATH": str(OrderAddresses.of({}, loop.root).orders),
    }
    materialize(Artefacts.of(environment), until=at)
    (contract,) = Path(loop.environment["BENTOML_HOME"]).glob("models/customer_churn/*/contract.json")
    yield Materialized(at, environment, contract)
    embedded_redis.stop(root=folder)


@pytest.fixture(scope="module")
def at_a_snapshot(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Materialized]:
    """Midnight of a windowed snapshot: every view has a fresh row."""
    yield from _materialize(loop, tmp_path_factory.mktemp("fresh"), days_before_end=30)


@pytest.fixture(scope="module")
def past_the_ttl(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Materialized]:
    """Half past seven, five days after the last windowed snapshot: its TTL of two days is over."""
    yield from _materialize(loop, tmp_path_factory.mktemp("expired"), days_before_end=25 - 7.5 / 24)


@pytest.mark.parametrize(("seed", "reader"), [("0", "compiled"), ("1", "compiled"), ("1", "sdk"), ("4242", "sdk")])
def test_online_vectors_equal_the_point_in_time_join_in_every_value(
    at_a_snapshot: Materialized, seed: str, reader: str
) -> None:
    result = at_a_snapshot.parity(seed, reader)["nothing"]

    assert result["rows"] >= 1000
    assert (0, 0, []) == (result["differing"], result["differing_raw"], result["features"])
    assert (0, 25) == (result["defaulted"], result["unknown_rows"])


@pytest.mark.parametrize("reader", READERS)
def test_parity_catches_a_planted_one_day_shift_and_a_swapped_column(at_a_snapshot: Materialized, reader: str) -> None:
    result = at_a_snapshot.parity("0", reader, "one-day-shift", "swapped-columns")

    assert result["one-day-shift"]["differing"] > 1000
    assert "customer_recency__days_since_last_order" in result["one-day-shift"]["features"]
    assert result["swapped-columns"]["differing"] > 1000
    assert {"customer_lifetime__order_count", "customer_recency__active_share_of_tenure"} == set(
        result["swapped-columns"]["features"]
    )


@pytest.mark.parametrize("reader", READERS)
def test_parity_holds_where_a_view_has_expired_and_catches_a_changed_default(
    past_the_ttl: Materialized, reader: str
) -> None:
    result = past_the_ttl.parity("0", reader, "nothing", "changed-default")

    sound = result["nothing"]
    assert (0, 0, []) == (sound["differing"], sound["differing_raw"], sound["features"])
    assert 1500 * 12 == sound["defaulted"], "the twelve windowed features must be the ones that expired"
    assert result["changed-default"]["differing"] >= 1500 * 12
    assert "customer_orders_windowed__spend_30d" in result["changed-default"]["features"]
