"""Loading what the import stored: the same answers, nothing altered, nothing executed."""

import hashlib
import json
import os
import pickle
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from contract import ModelContract
from scoring.errors import ModelError
from scoring.models.imported_model import PackedScorer, load_model
from tests.models.fakes import Stored, small_contract, small_pipeline, store_model, training_rows
from training.churn.candidates import CANDIDATES

# skl2onnx hands booleans to integer fields; raised as an error inside protobuf, this reads "cannot be expressed"


def _trained(candidate: str) -> tuple[Pipeline, pd.DataFrame]:
    matrix, churned = training_rows(rows=400)
    return CANDIDATES[candidate](3).fit(matrix, churned), training_rows(seed=99)[0]


def _float32(matrix: pd.DataFrame) -> NDArray[np.float32]:
    return np.ascontiguousarray(matrix.to_numpy(dtype=np.float32))


@pytest.mark.parametrize("candidate", sorted(CANDIDATES))
@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
def test_a_loaded_model_gives_the_pipelines_own_probabilities(tmp_path: Path, candidate: str, runtime: str) -> None:
    pipeline, matrix = _trained(candidate)

    model = store_model(tmp_path, small_contract(), pipeline, runtime).load()

    scored = model.score(_float32(matrix))
    assert (200,) == scored.shape
    assert np.dtype(np.float32) == scored.dtype
    np.testing.assert_allclose(scored, pipeline.predict_proba(matrix)[:, 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
@pytest.mark.parametrize("rows", [1, 7])
def test_a_loaded_model_scores_any_number_of_rows(tmp_path: Path, runtime: str, rows: int) -> None:
    model = store_model(tmp_path, small_contract(), runtime=runtime).load()
    matrix = _float32(training_rows()[0])

    assert (rows,) == model.score(matrix[:rows]).shape


@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
def test_a_model_that_was_sent_to_another_process_says_the_same(tmp_path: Path, runtime: str) -> None:
    model = store_model(tmp_path, small_contract(), runtime=runtime).load()
    matrix = _float32(training_rows()[0])

    arrived: PackedScorer = pickle.loads(pickle.dumps(model.packed()))  # noqa: S301  # as Spark sends it

    np.testing.assert_array_equal(model.score(matrix), arrived.open()(matrix))


@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
def test_a_model_that_arrives_altered_is_refused_by_name(tmp_path: Path, runtime: str) -> None:
    packed = store_model(tmp_path, small_contract(), runtime=runtime).load().packed()

    with pytest.raises(ModelError, match=r"model\.\w+ was altered since it was imported"):
        replace(packed, content=packed.content[:-1]).open()


def test_a_loaded_model_says_which_it_is(tmp_path: Path) -> None:
    model = store_model(tmp_path, small_contract()).load()

    assert {"name": "small_churn", "version": "7", "role": "champion"} == model.identity
    assert ("small_churn:v7", small_contract()) == (model.tag, model.contract)


@pytest.mark.parametrize(
    ("runtime", "file"), [("onnx", "model.onnx"), ("onnx", "model.skops"), ("sklearn", "model.skops")]
)
def test_an_altered_model_file_is_refused_by_name(tmp_path: Path, runtime: str, file: str) -> None:
    stored = store_model(tmp_path, small_contract(), runtime=runtime)
    content = bytearray((tmp_path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / file).write_bytes(content)

    with pytest.raises(ModelError, match=rf"small_churn:v7: {file} was altered"):
        stored.load()


def test_a_model_file_of_another_import_is_refused(tmp_path: Path) -> None:
    stored = store_model(tmp_path / "a", small_contract())
    store_model(tmp_path / "b", small_contract(), _trained("histogram_boosting")[0])
    (tmp_path / "a" / "model.onnx").write_bytes((tmp_path / "b" / "model.onnx").read_bytes())

    with pytest.raises(ModelError, match=r"model\.onnx was altered"):
        stored.load()


@pytest.mark.parametrize("member", ["task", "model_version", "metrics"])
def test_a_contract_that_says_something_else_is_refused(tmp_path: Path, member: str) -> None:
    stored = store_model(tmp_path, small_contract())
    contract = json.loads((tmp_path / "contract.json").read_text())
    looser = contract["task"] | {"threshold": {"value": 0.1, "rule": "looser"}}
    contract[member] = {"task": looser, "model_version": "8", "metrics": {}}[member]
    ModelContract.from_json(json.dumps(contract))
    (tmp_path / "contract.json").write_text(json.dumps(contract))

    with pytest.raises(ModelError, match=r"contract\.json was altered"):
        stored.load()


def test_a_contract_that_was_only_laid_out_anew_is_the_same_contract(tmp_path: Path) -> None:
    stored = store_model(tmp_path, small_contract())
    (tmp_path / "contract.json").write_text(json.dumps(json.loads((tmp_path / "contract.json").read_text())))

    assert small_contract() == stored.load().contract


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00"])
def test_a_file_that_is_no_contract_is_refused(tmp_path: Path, content: str) -> None:
    stored = store_model(tmp_path, small_contract())
    (tmp_path / "contract.json").write_text(content)

    with pytest.raises(ModelError, match=r"small_churn:v7: contract"):
        stored.load()


def test_a_truncated_contract_is_refused(tmp_path: Path) -> None:
    stored = store_model(tmp_path, small_contract())
    text = (tmp_path / "contract.json").read_text()
    (tmp_path / "contract.json").write_text(text[: len(text) // 2])

    with pytest.raises(ModelError, match=r"small_churn:v7: contract is not JSON"):
        stored.load()


@pytest.mark.parametrize("file", ["contract.json", "model.onnx", "model.skops"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    stored = store_model(tmp_path, small_contract())
    (tmp_path / file).unlink()

    with pytest.raises(ModelError, match=file):
        stored.load()


@pytest.mark.parametrize("labels", [{}, {"runtime": ""}, {"runtime": "pickle"}, {"runtime": "ONNX"}])
def test_an_unknown_runtime_is_refused(tmp_path: Path, labels: dict[str, str]) -> None:
    stored = store_model(tmp_path, small_contract())

    with pytest.raises(ModelError, match=f"runtime '{labels.get('runtime', '')}'"):
        Stored(tmp_path, labels, stored.metadata).load()


@pytest.mark.parametrize("absent", ["contract_sha256", "file_sha256"])
def test_a_model_without_a_recorded_hash_is_refused(tmp_path: Path, absent: str) -> None:
    stored = store_model(tmp_path, small_contract())
    metadata = {key: value for key, value in stored.metadata.items() if key != absent}

    with pytest.raises(ModelError, match="was altered"):
        load_model("small_churn:v7", tmp_path, stored.labels, metadata, role="champion")


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def _store_bytes(folder: Path, file: str, model: bytes, runtime: str) -> Stored:
    """A model folder whose hashes match whatever `model` is."""
    stored = store_model(folder, small_contract(), runtime=runtime)
    (folder / file).write_bytes(model)
    digest = hashlib.sha256(model).hexdigest()
    digests = {"file_sha256": digest} | ({"pipeline_sha256": digest} if file == "model.skops" else {})
    return Stored(folder, stored.labels, stored.metadata | digests)


def test_a_pickle_is_never_unpickled_although_its_hash_matches(tmp_path: Path) -> None:
    crater = tmp_path / "crater"
    stored = _store_bytes(tmp_path / "m", "model.skops", pickle.dumps(Bomb(crater)), "sklearn")

    with pytest.raises((ModelError, zipfile.BadZipFile)):
        stored.load()

    assert not crater.exists()


def skops_that_calls_mkdir(folder: Path) -> bytes:
    """A skops file whose schema names a function as a loss's constructor, with an argument for it."""
    with zipfile.ZipFile(BytesIO(skops.io.dumps((str(folder),)))) as archive:
        arguments = json.loads(archive.read("schema.json"))
    with zipfile.ZipFile(BytesIO(skops.io.dumps({}))) as archive:
        nothing = json.loads(archive.read("schema.json"))
    schema = {
        "__class__": os.mkdir.__name__,
        "__module__": os.mkdir.__module__,
        "__loader__": "LossNode",
        "__reduce__": {"args": arguments},
        "content": nothing,
        "protocol": arguments["protocol"],
        "_skops_version": arguments["_skops_version"],
    }
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    return written.getvalue()


def test_a_skops_file_that_would_call_a_function_of_its_own_choice_is_refused(tmp_path: Path) -> None:
    crater = tmp_path / "crater"
    stored = _store_bytes(tmp_path / "m", "model.skops", skops_that_calls_mkdir(crater), "sklearn")

    refused = ""
    try:
        stored.load()
    except ModelError as error:
        refused = str(error)

    assert not crater.exists(), "the file was trusted with whatever it asked for"
    assert "mkdir" in refused


@pytest.mark.parametrize(("runtime", "file"), [("onnx", "model.onnx"), ("sklearn", "model.skops")])
def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path, runtime: str, file: str) -> None:
    stored = _store_bytes(tmp_path, file, b"not a model", runtime)

    with pytest.raises(ModelError, match=file):
        stored.load()


def test_the_skops_file_of_a_candidate_is_no_pickle(tmp_path: Path) -> None:
    store_model(tmp_path, small_contract(), small_pipeline(), "sklearn")

    with zipfile.ZipFile(tmp_path / "model.skops") as archive:
        assert "schema.json" in archive.namelist()
