"""Files of the inference log by version 1 of the code, at commit 753b5b9: ten rows of `tests.models.answers`."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artefacts.log_rows import inference_log_schema, log_files
from scoring.inference_log import log_table, read_log
from scoring.models.imported_model import ImportedModel
from service.inference_log.files import Limits, LogFiles
from tests.models.answers import answers, small_model

RECORDED = Path(__file__).parents[2] / "fixtures/v1/inference_log"


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
