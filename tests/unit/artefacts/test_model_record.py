"""What the import writes beside a model is what the scoring planes read; tags are made and read by one rule."""

import hashlib
from dataclasses import replace

import pytest

from artefacts.model_record import CONTRACT_FILE, MODEL_FILES, PIPELINE_FILE, ModelDigests, ModelRecord
from artefacts.model_tag import is_exact, model_tag, tag_prefix, version_in
from contract import content_sha256

FILES = {CONTRACT_FILE: b'{"a": 1}', MODEL_FILES["onnx"]: b"onnx", PIPELINE_FILE: b"skops"}
RECORD = ModelRecord(
    *("7", "run", "onnx"),
    **ModelDigests.of(FILES, "onnx").to_dict(),
    mlflow_model="churn",
    mlflow_model_sha256="5",
    git_commit="abc",
    comparison={"equal": True},
    reason="",
    without_pipeline=False,
)


def test_labels_and_metadata_have_the_keys_that_stored_models_have() -> None:
    assert {"mlflow_version": "7", "mlflow_run_id": "run", "runtime": "onnx"} == RECORD.labels
    assert [
        *("contract_sha256", "file_sha256", "pipeline_sha256", "mlflow_model", "mlflow_model_sha256"),
        *("git_commit", "comparison", "reason"),
    ] == list(RECORD.metadata)


def test_what_was_written_is_read() -> None:
    assert RECORD == ModelRecord.read(RECORD.labels, RECORD.metadata)


def test_a_model_without_pipeline_says_so_and_has_no_digest_of_one() -> None:
    files = {name: content for name, content in FILES.items() if name != PIPELINE_FILE}
    record = replace(RECORD, pipeline_sha256=ModelDigests.of(files, "onnx").pipeline_sha256, without_pipeline=True)

    assert ["contract_sha256", "file_sha256"] == list(ModelDigests.of(files, "onnx").to_dict())
    assert "pipeline_sha256" not in record.metadata
    assert record == ModelRecord.read(record.labels, record.metadata)


def test_what_the_store_does_not_say_is_none_or_empty() -> None:
    read = ModelRecord.read({}, {"of a later version": 1})
    assert ("", None, None, None, "") == (
        *(read.runtime, read.contract_sha256, read.file_sha256, read.pipeline_sha256),
        read.reason,
    )


@pytest.mark.parametrize(("runtime", "served"), [("onnx", b"onnx"), ("sklearn", b"skops")])
def test_digests_are_of_the_contract_the_scoring_file_and_the_pipeline(runtime: str, served: bytes) -> None:
    assert {
        "contract_sha256": content_sha256(FILES[CONTRACT_FILE]),
        "file_sha256": hashlib.sha256(served).hexdigest(),
        "pipeline_sha256": hashlib.sha256(b"skops").hexdigest(),
    } == ModelDigests.of(FILES, runtime).to_dict()


def test_a_tag_is_read_as_it_was_made() -> None:
    tag = model_tag("churn", "12", "a", "b", "c")

    assert f"churn:v12-{hashlib.sha256(b'a b c').hexdigest()[:12]}" == tag
    assert "12" == version_in(tag)
    assert tag.startswith(tag_prefix("churn", "12"))
    assert is_exact(tag)


@pytest.mark.parametrize("other", ["", "churn:latest", "churn", "v12", None, 12])
def test_what_is_no_tag_of_an_import_has_no_version(other: object) -> None:
    assert version_in(other) is None
