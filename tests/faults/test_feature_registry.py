"""Feast's registry and the stored rows change under a running service: materialize, apply, a broken registry file."""

import time
from pathlib import Path

from tests.faults.conftest import Bench
from tests.faults.definitions import Definitions, apply
from tests.faults.promises import refused_as
from tests.loop import Loop, make
from tests.servers.serving import wait_until

NOTICED_SECONDS = 3
"""`SERVICE_CONTRACT_CHECK_SECONDS` is 1 here."""


def mismatch(bench: Bench) -> float:
    return bench.service.metric("model_service_contract_mismatch")


def test_answers_stay_the_same_while_everything_is_materialized_again(bench: Bench, loop: Loop) -> None:
    with bench.fault("`make materialize`", refused_as()) as fault:
        done = make(loop.root, {**loop.environment, **bench.addresses}, "materialize")
        assert 0 == done.returncode, done.stderr

    assert ["200"] == list(fault.outcomes)
    assert 0 == mismatch(bench)


def test_answers_keep_to_the_contract_of_the_start_whatever_is_applied(
    bench: Bench, loop: Loop, definitions: Definitions
) -> None:
    with bench.fault("`feast apply`: unchanged, breaking, undone", refused_as()) as fault:
        apply(loop, bench.addresses, definitions.kept)
        assert 0 == mismatch(bench)
        apply(loop, bench.addresses, definitions.breaking)
        wait_until(lambda: mismatch(bench) == 1, NOTICED_SECONDS)
        apply(loop, bench.addresses, definitions.kept)
        wait_until(lambda: mismatch(bench) == 0, NOTICED_SECONDS)

    assert ["200"] == list(fault.outcomes)
    assert "customer_orders_windowed__order_count_7d" in bench.service.log.read_text()


def test_a_registry_file_that_cannot_be_read_changes_nothing(bench: Bench, broken_registry: Path) -> None:
    whole = bench.registry.read_bytes()

    with bench.fault("registry file: garbage, deleted, breaking, mended", refused_as()) as fault:
        bench.registry.write_bytes(b"\x00not a registry\xff" * 100)
        time.sleep(2)
        assert 0 == mismatch(bench)
        bench.registry.unlink()
        time.sleep(2)
        assert 0 == mismatch(bench)
        bench.registry.write_bytes(broken_registry.read_bytes())
        wait_until(lambda: mismatch(bench) == 1, NOTICED_SECONDS)
        bench.registry.write_bytes(whole)
        wait_until(lambda: mismatch(bench) == 0, NOTICED_SECONDS)

    assert ["200"] == list(fault.outcomes)
    assert "the feature registry cannot be read" in bench.service.log.read_text()
