"""The log of a contract with typed keys, categories, nulls and request values."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry

from scoring.inference_log import read_log
from scoring.pseudonyms import Pseudonyms
from service.inference_log.writer import InferenceLog
from service.prediction.predictor import Predictor
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import NOW_US
from tests.models.typed import BALANCE, DEFAULTS, KEY, SEGMENT, purchase, typed_contract, typed_model, typed_store

PRIVATE = "private-4711"
AT = datetime(2025, 6, 15, 12, tzinfo=UTC)
SECRET_KEY = "0123456789abcdef" * 4


async def logged(folder: Path, rows: dict[Any, Any], **settings: object) -> tuple[pa.Table, ServiceMetrics]:
    """What is logged of one prediction for each key, amounts counted from 1."""
    contract, metrics = typed_contract(), ServiceMetrics("small_churn", CollectorRegistry())
    log = InferenceLog(folder / "log", ServiceSettings.model_validate(settings), metrics)
    model = typed_model(folder, contract)
    predictor = Predictor(model, typed_store(rows, contract), metrics, log=log)
    count = len(rows)
    given: dict[str, list[Any]] = {
        "amount": [float(at + 1) for at in range(count)],
        "channel": ["web"] * count,
        "items": [1] * count,
        "gift": [True] * count,
        "at": [AT] * count,
    }
    await predictor.predict(list(rows), NOW_US, None, "r", given)
    log.close(30)
    (file,) = (folder / "log").glob("date=*/*.parquet")
    return read_log(file), metrics


async def test_keys_keep_their_types_and_requests_their_values(tmp_path: Path) -> None:
    table, _ = await logged(tmp_path, {KEY: purchase(), (2**63 - 1, "m2"): purchase()})

    assert (pa.int64(), pa.string()) == (table.schema.field("customer_id").type, table.schema.field("merchant_id").type)
    assert [7, 2**63 - 1] == table["customer_id"].to_pylist()
    assert (
        '{"amount":2.0,"at":"2025-06-15T12:00:00Z","channel":"web","gift":true,"items":1}'
        == table["request_inputs"][1].as_py()
    )
    assert "request_inputs" == table.column_names[-1]


async def test_pseudonyms_stand_for_each_keys_text(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET_KEY)

    table, _ = await logged(tmp_path, {KEY: purchase()}, inference_log_id_key_file=str(file))

    pseudonyms = Pseudonyms.from_file(file)
    assert (pseudonyms.of(["7"]), pseudonyms.of(["m1"])) == (
        table["customer_id"].to_pylist(),
        table["merchant_id"].to_pylist(),
    )


async def test_a_kept_null_of_a_number_is_null_and_that_of_a_category_its_code(tmp_path: Path) -> None:
    table, _ = await logged(tmp_path, {KEY: purchase(balance=None, segment=None)})

    seen = dict(zip(DEFAULTS, table["inputs"][0].as_py(), strict=True))
    assert (None, -2.0) == (seen[BALANCE], seen[SEGMENT])


async def test_no_text_of_a_category_reaches_files_metrics_or_the_process_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    table, metrics = await logged(tmp_path, {KEY: purchase(segment=PRIVATE)})

    assert -1.0 == dict(zip(DEFAULTS, table["inputs"][0].as_py(), strict=True))[SEGMENT]
    files = [file for file in (tmp_path / "log").rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if PRIVATE.encode() in file.read_bytes()]
    assert PRIVATE not in str(table.to_pylist())
    assert PRIVATE.encode() not in metrics.exposition()
    assert PRIVATE not in caplog.text
