"""The same promises where features are read through Feast's SDK, as they are wherever no plan can be compiled."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.conftest import FAULT_SECONDS, Bench, filled_valkey, open_bench
from tests.faults.promises import Measurement, refused_as
from tests.loop import Loop


@pytest.fixture(scope="module")
def bench(
    loop: Loop, stored: Path, table: list[Measurement], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """From a tree whose registry is cached for a second, not for a minute: the tests don't last that long."""
    folder = tmp_path_factory.mktemp("sdk")
    tree = shutil.copytree(loop.root, folder / "project", ignore=shutil.ignore_patterns("var", "__pycache__"))
    (tree / "var").symlink_to(loop.root / "var")
    configuration = tree / "feature_repo" / "feature_store.yaml"
    configuration.write_text(configuration.read_text().replace("cache_ttl_seconds: 60", "cache_ttl_seconds: 1"))
    with (
        filled_valkey(stored, folder / "redis") as server,
        open_bench(
            replace(loop, root=tree), server, folder / "service", table, settings={"SERVICE_COMPILED_READER": "false"}
        ) as bench,
    ):
        yield bench


def test_a_killed_redis_is_refused_at_once_and_used_again_when_it_is_back(bench: Bench) -> None:
    with bench.fault("Feast's SDK: Redis killed and started again") as fault:
        bench.redis.kill()
        time.sleep(FAULT_SECONDS)
        assert (503, 200) == bench.service.health()
        bench.redis.restart()

    assert fault.outcomes["503 online_store_unavailable"] > 50


def test_a_hung_redis_costs_the_deadline_and_then_nothing(bench: Bench) -> None:
    with bench.fault("Feast's SDK: Redis hung and continued") as fault:
        bench.redis.stop_signal()
        time.sleep(FAULT_SECONDS)
        assert (503, 200) == bench.service.health()
        bench.redis.cont_signal()

    assert fault.outcomes["503 deadline_exceeded"] >= 1


def test_what_becomes_of_the_registry_changes_no_answer(bench: Bench, broken_registry: Path) -> None:
    whole = bench.registry.read_bytes()
    with bench.fault("Feast's SDK: registry file breaking, garbage, deleted", refused_as()) as fault:
        for content in (broken_registry.read_bytes(), b"\x00not a registry\xff" * 100, b""):
            bench.registry.write_bytes(content) if content else bench.registry.unlink()
            time.sleep(FAULT_SECONDS)
        bench.registry.write_bytes(whole)

    assert ["200"] == list(fault.outcomes)
