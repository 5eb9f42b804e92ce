"""A run that is killed before a change of a file or of Redis leaves a state from which the next run goes on."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from artefacts.addresses import Artefacts
from artefacts.build_files import damage
from jobs.erasure.erase import Erasure, erase
from jobs.materialization.redis_store.redis_writer import OnlineRows
from tests.integration.jobs.erasure.erased_shop import SETTINGS, ErasedShop
from tests.integration.jobs.streaming_shop import StreamingShop
from tests.servers.forked import Forked
from training.churn.source.addresses import OrderAddresses


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErasedShop]:
    made = StreamingShop.in_folder(tmp_path_factory.mktemp("killed"))
    try:
        yield ErasedShop(made)
    finally:
        made.close()


def killed_before(change: int, artefacts: Artefacts, source: OrderAddresses, asked: Erasure) -> int:
    """Erase in this process, and end it by SIGKILL before the change of that number, from 0; 0 if there are fewer."""
    left = iter(range(change + 1))

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*arguments: Any, **named: Any) -> Any:
            if next(left, None) == change:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **named)

        return changing

    changes = [(Path, "replace"), (Path, "rename"), (Path, "unlink"), (shutil, "rmtree"), (OnlineRows, "remove")]
    for owner, name in changes:
        mock.patch.object(owner, name, counting(getattr(owner, name))).start()
    erase(artefacts, source, asked, SETTINGS)
    return 0


def test_killed_runs_are_finished_by_the_next(shop: ErasedShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is killed one change later than the one before, and begins where that one ended."""
    monkeypatch.setenv("OFFLINE_STORE_DIR", str(shop.shop.artefacts.offline_store))
    shop.fill()
    before = shop.others()
    codes = []
    for change in range(200):
        work = partial(killed_before, change, shop.shop.artefacts, shop.shop.orders, shop.asked())
        with Forked(work, ["erase"], shop.folder, dict(os.environ)) as process:
            pass
        codes.append(process.returncode)
        assert [] == shop.receipts() or codes[-1] == 0
        if codes[-1] == 0:
            break

    assert 0 == codes.pop()
    assert {-signal.SIGKILL} == set(codes)
    assert len(codes) >= 5
    assert [] == shop.places()
    assert before == shop.others()
    assert damage(shop.shop.artefacts.offline_store / "current") is None
    assert 1 == len(shop.receipts())
