"""A past decision is rebuilt from the log and the model store alone, or it is said why it cannot be."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bentoml
import numpy as np
import pyarrow.parquet as pq
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from prometheus_client import CollectorRegistry

from artefacts.log_rows import log_files
from jobs.__main__ import main
from scoring.inference_log import Answers, log_table
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model
from service.inference_log.writer import InferenceLog
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.models.answers import answers
from tests.models.fakes import DAYS_SINCE, DEFAULTS, ORDERS_30D, SPEND, small_contract, store_model

STALE, MISSING, UNKNOWN = 1, 2, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImportedModel]:
    """In a model store of its own."""
    BentoMLContainer.model_store.set(ModelStore(tmp_path_factory.mktemp("models")))
    made = store_model(tmp_path_factory.mktemp("imported"), small_contract())
    with bentoml.models.create("small_churn:v7", module=__name__, labels=made.labels, metadata=made.metadata) as stored:
        for file in made.folder.iterdir():
            (Path(stored.path) / file.name).write_bytes(file.read_bytes())
    yield open_model("small_churn:v7")
    BentoMLContainer.model_store.reset()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INFERENCE_LOG_DIR", str(tmp_path / "log"))
    return tmp_path / "log"


def log(folder: Path, *batches: Answers, **settings: object) -> None:
    """As the service does."""
    chosen = ServiceSettings.model_validate({f"inference_log_{name}": value for name, value in settings.items()})
    written = InferenceLog(folder, chosen, ServiceMetrics("small_churn", CollectorRegistry()))
    for batch in batches:
        written.put(batch)
    written.close()


def why(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    code = main(["why", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_row_is_rebuilt_with_model_contract_inputs_ages_and_policy(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = answers(model, 5)
    log(folder, logged)

    code, told, errors = why(capsys, "--request", "r", "--row", str(STALE))

    assert (0, "") == (code, errors)
    lines = told.splitlines()
    assert f"contract    {model.contract_sha256}" in lines
    assert "model       small_churn version 7, champion, answered" in lines
    assert "status      degraded" in lines
    probability = float(logged.outcomes.outputs[0][STALE])
    assert f"probability {probability!r}: no churn, which it is from 0.5 on" in lines
    cells = {line.split("  ")[0]: line for line in lines}
    assert list(DEFAULTS) == [name for name in cells if name in DEFAULTS]
    stale = "2 days, 0:01:40", "stale", "default", "stale after 2 days, 0:00:00: use_default"
    assert all(what in cells[ORDERS_30D] for what in stale)
    assert f" {DEFAULTS[ORDERS_30D]:g} " in cells[ORDERS_30D]
    assert all(
        what in cells[SPEND] for what in ("fresh", "value", "0:01:40", "never stale; missing: use_default (50 from")
    )
    assert "2025-06-15T15:04:59.750000+00:00" in cells[SPEND], "of the stored row"


def test_the_contributions_add_up_to_the_logged_probability(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = answers(model, 5)
    log(folder, logged)

    _, told, _ = why(capsys, "--request", "r", "--row", str(MISSING))

    log_odds = float(next(line for line in told.splitlines() if line.startswith("log-odds")).split()[1].rstrip(":"))
    assert logged.outcomes.outputs[0][MISSING] == pytest.approx(1 / (1 + math.exp(-log_odds)), abs=1e-5)


def test_a_model_without_pipeline_is_reproduced_and_has_no_explanation(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log(folder, answers(model, 5))
    monkeypatch.setattr("jobs.inference_log.why.open_model", lambda *_: replace(model, without_pipeline=True))

    code, told, errors = why(capsys, "--request", "r")

    assert (0, "") == (code, errors)
    assert "no explanation: this model came as ONNX without a pipeline; it has no exact explanation" in told


def test_every_row_of_a_batch_is_reproduced(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    log(folder, answers(model, 40))

    assert {0} == {why(capsys, "--request", "r", "--row", str(row))[0] for row in range(40)}


def test_an_unknown_customer_is_told_as_one(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    log(folder, answers(model, 5))

    code, told, _ = why(capsys, "--request", "r", "--row", str(UNKNOWN))

    assert code == 0
    assert "status      unknown_customer\nno features were stored" in told


def test_all_models_that_scored_a_row_are_told_the_one_that_answered_first(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    shadow = replace(answers(replace(model, role="challenger"), 1), answered=np.zeros(1, dtype=bool))
    log(folder, shadow, answers(model, 1))

    _, told, _ = why(capsys, "--request", "r")

    assert ["champion, answered", "challenger, did not answer"] == [
        line.partition("version 7, ")[2] for line in told.splitlines() if line.startswith("model ")
    ]


def test_a_probability_that_is_not_reproduced_ends_with_3(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    made = answers(model, 1)
    other = replace(made.outcomes, outputs=(made.outcomes.outputs[0] + 2e-6, made.outcomes.outputs[1]))
    log(folder, replace(made, outcomes=other))

    code, told, errors = why(capsys, "--request", "r")

    assert code == 3
    assert errors.startswith("error: model small_churn:v7 makes ")
    assert DAYS_SINCE in told, "what there is to be said is said"


def test_a_decision_that_contradicts_its_probability_ends_with_3(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    made = answers(model, 1)
    probabilities, decisions = made.outcomes.outputs
    log(folder, replace(made, outcomes=replace(made.outcomes, outputs=(probabilities, ~decisions))))

    code, _, errors = why(capsys, "--request", "r")

    assert code == 3
    assert "the logged decision contradicts" in errors


def test_a_request_that_is_not_in_the_log_is_an_error(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no inference log is there; a service with SERVICE_INFERENCE_LOG=true" in why(capsys, "--request", "x")[2]
    log(folder, answers(model, 1))

    assert (1, f"error: {folder}: no row 0 of request 'x' in the inference log\n") == why(capsys, "--request", "x")[::2]
    assert 1 == why(capsys, "--request", "r", "--row", "1")[0]
    assert 1 == why(capsys, "--request", "r", "--until", "2025-01-01")[0]


def test_a_model_that_is_gone_is_named(folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]) -> None:
    log(folder, answers(replace(model, tag="small_churn:v3"), 1))

    code, _, errors = why(capsys, "--request", "r")

    assert code == 1
    assert "error: the decision cannot be recomputed: model small_churn:v3 is not in the BentoML model store" in errors


def test_a_contract_that_is_not_the_logged_one_is_named(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    log(folder, answers(replace(model, contract_sha256="12" * 32), 1))

    code, _, errors = why(capsys, "--request", "r")

    assert code == 1
    assert model.contract_sha256 in errors
    assert "12" * 32 in errors


def test_a_damaged_file_is_named_and_the_others_are_searched(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    log(folder, answers(model, 1))
    (whole,) = log_files(folder)
    damaged = whole.with_name("00000000-of-a-worker.parquet")
    damaged.write_bytes(whole.read_bytes()[:-100])

    code, told, _ = why(capsys, "--request", "r")
    assert code == 0
    assert told.startswith(f"warning: {damaged}: cannot be read as inference log")

    code, _, errors = why(capsys, "--request", "x")
    assert code == 1
    assert "1 damaged files could not be searched" in errors


def test_pseudonyms_are_no_hindrance(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 32)
    log(folder, answers(model, 1), id_key_file=str(key))

    code, told, _ = why(capsys, "--request", "r")

    assert code == 0
    assert "customer    p:" in told


def test_rows_are_found_before_their_file_is_complete(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    log(folder, answers(model, 1))
    (complete,) = log_files(folder)
    rows = log_table(answers(model, 1))
    with pq.ParquetFile(complete) as file:
        assert rows == file.read().combine_chunks()
    stream = complete.with_suffix(".arrows")
    stream.write_bytes(rows.schema.serialize().to_pybytes() + rows.to_batches()[0].serialize().to_pybytes())
    complete.unlink()

    assert 0 == why(capsys, "--request", "r")[0]


def test_what_a_client_or_customer_wrote_is_told_without_being_obeyed_by_a_terminal(
    folder: Path, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = answers(model, 5)
    hostile = "r`id`\x1b[31m\u202e\x9b2J\nstatus      ok"
    log(folder, replace(logged, request_ids=[hostile] * 5, keys=[f"\x1b]0;{n}\x07\n" for n in range(5)]))

    code, told, errors = why(capsys, "--request", hostile, "--row", str(STALE))

    assert (0, "") == (code, errors)
    lines = told.splitlines()
    assert all(line.isprintable() for line in lines)
    assert "request     r`id`\\x1b[31m\\u202e\\x9b2J\\nstatus      ok row 1," in lines[0]
    assert f"customer    \\x1b]0;{STALE}\\x07\\n" == lines[1]
    assert "status      ok" not in lines

    _, _, errors = why(capsys, "--request", "\x1b[31mnobody")
    assert "\x1b" not in errors
