"""An erased customer is nowhere, stays away, and nobody else's rows change."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pyarrow.parquet as pq
import pytest

from artefacts.build_files import damage
from jobs.erasure.erase import LeftError, erase
from jobs.errors import ArgumentError, JobError
from jobs.features.build import build_features
from jobs.materialization.materialize import materialize
from jobs.stream.checkpoint import stream_lock
from scoring.erased_keys import ErasedKeys
from service.inference_log.files import Limits, LogFiles
from tests.integration.jobs.erasure.erased_shop import ERASED, SETTINGS, SOON, ErasedShop, write_log
from tests.integration.jobs.streaming_shop import NOW, StreamingShop
from tests.loop import call
from tests.planes import serving
from training.churn.own_orders import read_again


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[ErasedShop]:
    made = StreamingShop.in_folder(tmp_path_factory.mktemp("erase"))
    monkeypatch.setenv("OFFLINE_STORE_DIR", str(made.artefacts.offline_store))
    try:
        (filled := ErasedShop(made)).fill()
        yield filled
    finally:
        made.close()


def online(shop: ErasedShop) -> dict[bytes, dict[bytes, bytes]]:
    return {key: fields for key, fields in shop.shop.online().items() if not is_key(key)}


def is_key(key: bytes) -> bool:
    """True for the customer's key in Redis: the length of the value stands before it."""
    return key.endswith(b"\x05\x00\x00\x00" + ERASED.encode() + b"churn")


def test_an_erased_customer_is_nowhere_and_nobody_else_changes(shop: ErasedShop) -> None:
    before, others = shop.others(), online(shop)
    assert len(others) + 1 == len(shop.shop.online())
    assert len(shop.places()) >= 10
    counted = shop.erase(dry_run=True)

    said = shop.erase()

    assert [] == shop.places()
    assert before == shop.others()
    assert others == shop.shop.online()
    assert damage(shop.shop.artefacts.offline_store / "current") is None
    (receipt,) = shop.receipts()
    assert ERASED not in said
    assert ERASED not in receipt.read_text()
    told = json.loads(receipt.read_text())
    assert [] == told["left"]
    assert counted.split(" ", 1)[0] == said.split(" ", 1)[0]
    assert {"files", "offline store", "Redis"} == {place for place, counts in told["erased"].items() if counts}


def test_a_later_delivery_build_materialization_or_event_does_not_bring_it_back(shop: ErasedShop) -> None:
    with serving(shop.shop.artefacts, shop.shop.model, NOW) as url:
        asked = partial(call, url, "POST", "/predict", {"customer_id": ERASED})
        assert 200 == asked().status
        shop.erase()
        gone = asked()

        read_again(shop.shop.orders.orders, NOW)
        build_features(shop.shop.artefacts, shop.shop.orders, SETTINGS, NOW, full=True)
        materialize(shop.shop.artefacts, NOW, settings=SETTINGS)
        made = shop.shop.process(1, [("s-9", ERASED, SOON + timedelta(minutes=1), 3.0)])
        later = asked()

    assert [(404, "unknown_customer")] * 2 == [(each.status, each.body["error"]["code"]) for each in (gone, later)]
    assert 0 == made.orders
    assert [] == shop.places()
    assert [] == [key for key in shop.shop.online() if is_key(key)]


def test_an_unknown_key_is_said_and_not_noted(shop: ErasedShop) -> None:
    with pytest.raises(JobError, match="nothing was found under this key; nothing was changed"):
        shop.erase("0000")

    assert not ErasedKeys.of(shop.shop.artefacts.offline_store).has({"customer_id": "0000"})
    with pytest.raises(ArgumentError, match="customer_id has no value"):
        shop.erase("")


def test_a_second_run_finds_nothing_and_writes_a_receipt(shop: ErasedShop) -> None:
    shop.erase()

    assert shop.erase().startswith("0 erased, none left; ")
    assert 2 == len(shop.receipts())


def test_what_cannot_be_changed_is_left_and_what_cannot_be_read_is_printed(shop: ErasedShop) -> None:
    sheet, notes = shop.folder / "var" / "rows.xlsx", shop.folder / "var" / "notes.md"
    sheet.write_bytes(b"PK\3\4\0")
    unread = f"{sheet}: it is neither text nor Parquet"
    with pytest.raises(JobError, match=f"nothing was changed; not looked into: {re.escape(unread)}"):
        shop.erase("nobody")

    notes.write_text(f"# {ERASED} called\n")
    left = f"{notes}: it names the key in a form that is not known here; take the key out of it by hand"
    said = shop.erase(dry_run=True)
    assert f"  left: {left}" in said
    assert f"  not read, look into it yourself: {unread}" in said
    with pytest.raises(LeftError) as caught:
        shop.erase()
    assert left in str(caught.value)
    assert str(caught.value).endswith(f"; not read, look into it yourself: {unread}")
    (receipt,) = shop.receipts()
    assert [unread] == json.loads(receipt.read_text())["not_read"]
    assert ERASED not in receipt.read_text()

    notes.unlink()
    said = shop.erase()
    assert said.startswith("0 erased, none left; ")
    assert said.endswith(f"\n  not read, look into it yourself: {unread}")


def test_a_running_stream_keeps_the_customer(shop: ErasedShop) -> None:
    before = shop.places()

    with stream_lock(shop.shop.orders.streamed_orders), pytest.raises(JobError, match="another stream writes there"):
        shop.erase()

    assert before == shop.places()


def test_the_file_that_a_service_writes_is_left_and_said(shop: ErasedShop) -> None:
    write_log(shop.log, shop.shop.model.contract)
    files = LogFiles(shop.log, Limits(10**9, 600, 30))
    (complete, *_) = sorted(shop.log.glob("date=*/*.parquet"))

    files.append(pq.read_table(complete, partitioning=None), NOW)

    with pytest.raises(LeftError, match="a service is writing it; it is complete within SERVICE_INFERENCE_LOG_FILE"):
        shop.erase()
    (left,) = shop.places()
    assert left.endswith(".arrows")
    told = json.loads(max(shop.receipts()).read_text())
    assert left in str(told["left"])
    assert not [where for where in told["erased"]["files"] if where.endswith(left)]

    files.close()
    shop.erase()
    assert [] == shop.places()


def test_a_log_of_pseudonyms_needs_their_key(shop: ErasedShop) -> None:
    asked = replace(shop.asked(), id_key_files=())
    with pytest.raises(JobError, match="the inference log holds pseudonyms; give the key that made them"):
        erase(shop.shop.artefacts, shop.shop.orders, asked, SETTINGS)
