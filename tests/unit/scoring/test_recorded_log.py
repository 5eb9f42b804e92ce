"""Files of the inference log by version 1 of the code; tests/fixtures/v1/README.md says what they hold."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artefacts.log_rows import inference_log_schema, log_files
from scoring.inference_log import log_table, read_log
from scoring.models.imported_model import ImportedModel
from scoring.pseudonyms import Pseudonyms
from service.inference_log.files import Limits, LogFiles
from tests.models.answers import answers, small_model

RECORDED = Path(__file__).parents[2] / "fixtures/v1/inference_log"

EVERY_STATUS = RECORDED.with_name("log_of_every_status")
PSEUDONYMISED = RECORDED.with_name("pseudonymised_log")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return small_model(tmp_path_factory.mktemp("model"))


def test_files_of_version_1_are_read_as_before(model: ImportedModel) -> None:
    complete, still_open = (read_log(file) for file in log_files(RECORDED))

    assert inference_log_schema(model.contract) == complete.schema == still_open.schema
    read = pa.concat_tables([complete, still_open]).drop_columns(["contract_sha256", "churn_probability"])
    now = log_table(answers(model, 10)).drop_columns(["contract_sha256", "churn_probability"])
    assert read.to_pylist() == now.to_pylist()


def test_files_of_a_binary_model_are_written_as_by_version_1(tmp_path: Path, model: ImportedModel) -> None:
    recorded, still_open = log_files(RECORDED)
    files = LogFiles(tmp_path, Limits(size=10**9, age=600, days=30))
    files.append(read_log(recorded), datetime(2026, 3, 1, 12, tzinfo=UTC))
    files.close()
    files.append(read_log(still_open), datetime(2026, 3, 1, 13, tzinfo=UTC))

    complete, written = log_files(tmp_path)
    assert still_open.read_bytes() == written.read_bytes()
    assert pq.ParquetFile(recorded).schema == pq.ParquetFile(complete).schema  # its bytes tell pyarrow's version


def test_rows_of_every_status_are_read_as_they_were_answered() -> None:
    """In the answers that were recorded of the same customers; a refused one's status is told by the error's code."""
    (file,) = log_files(EVERY_STATUS)
    read = [(row["customer_id"], row["status"], row["churn"]) for row in read_log(file).to_pylist()]

    exchanges = json.loads((RECORDED.parent / "exchanges.json").read_text(encoding="utf-8"))[: len(read)]
    answered = [
        (json.loads(each["request"]["body"])["customer_id"], _status(body), body.get("churn"))
        for each in exchanges
        for body in [json.loads(each["body"])]
    ]
    assert answered == read
    assert {"ok", "degraded", "refused", "unknown_customer"} == {status for _, status, _ in read}


def _status(body: dict[str, Any]) -> str:
    codes = {"features_refused": "refused", "unknown_customer": "unknown_customer"}
    return str(body["status"]) if "status" in body else codes[body["error"]["code"]]


def test_customers_are_found_under_the_pseudonyms_of_version_1() -> None:
    (file,) = log_files(PSEUDONYMISED)

    pseudonyms = Pseudonyms.from_file(RECORDED.with_name("id_key")).of([*(f"{n:09d}" for n in range(12)), "nobody"])
    logged = [row["customer_id"] for row in read_log(file).to_pylist() if row["role"] == "champion"]
    assert list(pseudonyms) == logged
