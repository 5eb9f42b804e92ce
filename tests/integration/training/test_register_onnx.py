"""A model that was trained elsewhere, from its file and its recorded scores to a version that is served."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import bentoml
import httpx
import mlflow.pyfunc
import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry

from contract import ModelContract
from contract.tasks import TaskKind
from jobs.batch.score_batch import BatchRequest, score_batch
from jobs.feature_store import apply
from jobs.features.build import build_features
from jobs.settings import JobsSettings
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model
from scoring.task_outputs import task_outputs
from service.api.authentication import ApiKeys
from service.api.routing import HttpApi, ServingSlot
from service.assembly import serving_of
from service.features.guard import GuardedFeatures
from service.prediction.predictor import Predictor
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.integration.training.conftest import DAMAGES, GOOD, NAME, Registry, damaged, trained
from tests.integration.training.elsewhere import Elsewhere, elsewhere
from tests.models.fakes import FakeOnlineFeatures, Rows, StoredRow
from tests.unit.service.conftest import bentoml_app
from training.bento_import import import_model, prepare
from training.churn.own_orders import write_own
from training.churn.source.addresses import OrderAddresses
from training.errors import GateError, ModelImportError, TrainingError
from training.gate.rules import GATE, PASSED
from training.promotion.challenge import challenge
from training.promotion.moves import promote, roll_back
from training.tracking.registry import download

KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
CONVERTED = 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_another_framework_is_registered_proved_and_served(
    models: Registry, contract: ModelContract, tmp_path: Path, kind: TaskKind
) -> None:
    artefacts = models.opened.artefacts
    with elsewhere(models, contract.feature_schema, kind) as made:
        version = made.register()
        servable = import_model(artefacts, NAME, str(version.version), artefacts.mlflow_tracking_uri)

        assert PASSED == version.tags[GATE]
        test = made.rows[made.rows["split"] == "test"].reset_index(drop=True)
        registered = download(version, tmp_path)
        assert registered.pipeline is None
        names = registered.contract.feature_names
        assert [feature.name for feature in contract.feature_schema.features] == names
        metrics = models.opened.client.get_run(str(version.run_id)).data.metrics
        headline = f"{registered.contract.headline.population}_{registered.contract.headline.metric}"
        assert metrics[f"{headline}_low"] < metrics[headline] < metrics[f"{headline}_high"]
        assert f"{headline.replace('_', '_baseline_', 1)}" in metrics

        assert ("onnx", {"contract.json", "model.onnx"}) == (servable.runtime, set(servable.files))
        assert f"{len(test)} test rows, largest difference" in str(servable)
        stored = bentoml.models.get(models.pinned)
        assert {"contract.json", "model.onnx", "model.yaml"} == {file.name for file in Path(stored.path).iterdir()}
        model = open_model(models.pinned)
        expected = made.answer(test[names])
        assert expected == pytest.approx(model.score(test[names].to_numpy(np.float32)), rel=1e-4, abs=1e-5)
        outputs = task_outputs(model.contract).of(expected)
        assert kind != "binary" or 0 < outputs[1].mean() < 1
        with pytest.raises(ModelError, match="came as ONNX without a pipeline; it has no exact explanation"):
            model.load_pipeline()

        of_mlflow = mlflow.pyfunc.load_model(version.source).predict(test[names].to_numpy(np.float32))
        last = list(of_mlflow.values())[-1]
        scores = last[:, 1] if kind == "binary" else last.reshape(expected.shape)
        assert expected == pytest.approx(scores, rel=1e-4, abs=1e-5)

        again = import_model(artefacts, NAME, str(version.version), artefacts.mlflow_tracking_uri)
        assert servable.identity == again.identity


def test_it_challenges_a_pipeline_replaces_it_and_comes_back_byte_for_byte(
    models: Registry, contract: ModelContract
) -> None:
    trained(models)
    with elsewhere(models, contract.feature_schema, "binary") as made:
        version = str(made.register().version)
        challenge(models.opened, version, "shadow", 0.1)

        promoted = promote(models.opened, version, reason="in a test", force=True)
        served = open_model(models.pinned)
        assert version == models.champion == served.contract.model_version
        assert "pipeline_sha256" not in promoted.entry.served
        digest = hashlib.sha256((served.folder / "model.onnx").read_bytes()).hexdigest()

        promote(models.opened, GOOD, reason="in a test", force=True)
        assert GOOD == models.champion
        bentoml.models.delete(served.tag)
        roll_back(models.opened, promoted.number, "in a test")

        assert (version, served.tag) == (models.champion, models.pinned)
        assert digest == hashlib.sha256((open_model(models.pinned).folder / "model.onnx").read_bytes()).hexdigest()


def test_a_version_that_was_damaged_or_exchanged_is_refused(models: Registry, contract: ModelContract) -> None:
    with elsewhere(models, contract.feature_schema, "regression") as made:
        version = made.register()
        number = str(version.version)

        for pattern in ("model.onnx", "contract.json", "test_set.parquet", "MLmodel"):
            for how in DAMAGES:
                with damaged(models.artifact(number, pattern), how), pytest.raises(ModelImportError, match=NAME):
                    prepare(models.opened.client, version)
        with pytest.raises(ModelImportError, match="its ONNX file is not the one that was served"):
            prepare(models.opened.client, version, "ab" * 32)
        (models.artifact(number, "model.onnx").parent / "model.skops").write_bytes(b"")
        with pytest.raises(ModelImportError, match=r"'model.skops' is not a file that training writes"):
            prepare(models.opened.client, version)


def test_a_version_whose_test_rows_say_otherwise_is_not_imported(models: Registry, contract: ModelContract) -> None:
    with elsewhere(models, contract.feature_schema, "multiclass") as made:
        version = str(made.register().version)
        file = models.artifact(version, "test_set.parquet")
        rows = pd.read_parquet(file)
        rows.assign(score_0=rows["score_1"], score_1=rows["score_0"]).to_parquet(file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        models.opened.client.set_model_version_tag(NAME, version, "test_set_sha256", digest)

        with pytest.raises(ModelImportError, match=rf"{NAME}.* version {version}: its ONNX file answers otherwise"):
            prepare(models.opened.client, models.opened.client.get_model_version(NAME, version))


def _edited(change: Callable[[Any], None]) -> Callable[[Elsewhere], None]:
    def edit(made: Elsewhere) -> None:
        model = onnx.load(made.onnx)
        change(model)
        made.onnx.write_bytes(model.SerializeToString())

    return edit


def _points_elsewhere(model: Any) -> None:
    model.graph.initializer.append(onnx.helper.make_tensor("far", onnx.TensorProto.FLOAT, [1], [1.0]))
    model.graph.initializer[-1].data_location = onnx.TensorProto.EXTERNAL
    model.graph.initializer[-1].external_data.add(key="location", value="/etc/passwd")


def _of_a_library(model: Any) -> None:
    model.graph.node[0].domain = "com.example"


def _without(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.iloc[3:]


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


WRONG: dict[str, tuple[TaskKind, Callable[[Elsewhere], None], str]] = {
    "scores of another model": (
        "binary",
        lambda made: made.rescored(lambda rows: rows.assign(score=rows["score"] * 0.999)),
        "net.onnx: it answers otherwise than the recorded scores .*600 validation rows",
    ),
    "classes in another order": (
        "multiclass",
        lambda made: made.rescored(lambda rows: rows.rename(columns={"score_0": "score_1", "score_1": "score_0"})),
        "net.onnx: it answers otherwise than the recorded scores",
    ),
    "scores of too few rows": (
        "regression",
        lambda made: made.rescored(_without),
        "scores.parquet: 3 of 600 validation rows have no finite score; `make rows` writes today's rows",
    ),
    "a score that is no number": (
        "regression",
        lambda made: made.rescored(lambda rows: rows.assign(score=np.nan)),
        "600 of 600 validation rows have no finite score",
    ),
    "a row that is there twice": (
        "regression",
        lambda made: made.rescored(lambda rows: pd.concat([rows, rows.head(1)])),
        "a row is there twice; customer_id, event_timestamp tell the rows apart",
    ),
    "scores under another name": (
        "multiclass",
        lambda made: made.rescored(lambda rows: rows.rename(columns={"score_2": "high"})),
        "there is no column 'score_2'; customer_id, event_timestamp, score_0, score_1, score_2 are needed",
    ),
    "no scores": ("binary", lambda made: made.scores.unlink(), "scores.parquet does not exist"),
    "no Parquet": ("binary", lambda made: _write(made.scores, b"a,b"), "no Parquet file that can be read"),
    "no model": ("binary", lambda made: made.onnx.unlink(), "net.onnx: .*net.onnx cannot be read: No such file"),
    "a pickle": ("binary", lambda made: _write(made.onnx, b"\x80\x04\x95"), "net.onnx: it is no ONNX file"),
    "weights in another file": ("binary", _edited(_points_elsewhere), "net.onnx: the tensor 'far' is in another file"),
    "an operator of a library": ("binary", _edited(_of_a_library), "net.onnx: the operator .* is of 'com.example'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_by_name_before_anything_is_registered(
    models: Registry, contract: ModelContract, name: str
) -> None:
    kind, spoil, said = WRONG[name]
    before = len(models.opened.client.search_model_versions(f"name = '{NAME}'"))
    with elsewhere(models, contract.feature_schema, kind) as made:
        spoil(made)

        with pytest.raises(TrainingError, match=said) as refused:
            made.register()

    assert "\n" not in str(refused.value)
    assert before == len(models.opened.client.search_model_versions(f"name = '{NAME}'"))


def test_the_outputs_of_another_task_are_refused_with_what_is_expected(
    models: Registry, contract: ModelContract
) -> None:
    with elsewhere(models, contract.feature_schema, "regression") as made:
        number = made.onnx.read_bytes()
    with elsewhere(models, contract.feature_schema, "multiclass") as made:
        made.onnx.write_bytes(number)

        with pytest.raises(TrainingError, match="probabilities of low, middle and high"):
            made.register()


def test_a_model_that_is_no_better_than_the_baseline_is_registered_and_not_served(
    models: Registry, contract: ModelContract
) -> None:
    with (
        elsewhere(models, contract.feature_schema, "binary") as made,
        pytest.raises(GateError, match="is registered without an alias"),
    ):
        made.register(min_auc_margin=0.9)

    opened = models.opened
    with pytest.raises(ModelImportError, match="did not pass the gate"):
        import_model(opened.artefacts, NAME, "4", opened.artefacts.mlflow_tracking_uri)


def test_trees_that_give_many_rows_the_threshold_itself_are_decided_alike(
    models: Registry, contract: ModelContract
) -> None:
    """A score in the last place below the recorded one must not turn the decision."""
    with elsewhere(models, contract.feature_schema, "binary") as made:
        made.rescored(lambda rows: rows.assign(score=(rows["score"] + 2e-6).clip(upper=1)))
        version = made.register()

        assert prepare(models.opened.client, version).comparison


async def _post(model: ImportedModel, rows: dict[str, Rows], path: str, body: dict[str, Any]) -> httpx.Response:
    """Ask the HTTP app, over an online store in memory."""
    registry = CollectorRegistry()
    metrics, settings = ServiceMetrics(NAME, registry), ServiceSettings(deadline_ms=2500)
    features = GuardedFeatures(FakeOnlineFeatures(model.contract, rows), 2.5, metrics, None)
    made = serving_of(Predictor(model, features, metrics), settings, metrics, ApiKeys.of("", ""))
    transport = httpx.ASGITransport(app=HttpApi(bentoml_app, ServingSlot(made)))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.post(path, json=body)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_answers_over_http_and_says_that_it_cannot_be_explained(
    models: Registry, contract: ModelContract, kind: TaskKind
) -> None:
    artefacts = models.opened.artefacts
    with elsewhere(models, contract.feature_schema, kind) as made:
        import_model(artefacts, NAME, str(made.register().version), artefacts.mlflow_tracking_uri)
    model = open_model(models.pinned)
    test = made.rows[made.rows["split"] == "test"].head(3)
    inputs = test[model.contract.feature_names]
    stored: dict[str, Rows] = {}
    for key, values in zip(test["customer_id"], inputs.to_dict("records"), strict=True):
        views = {feature.view: dict[str, float | None]() for feature in model.contract.inputs}
        for feature in model.contract.inputs:
            views[feature.view][feature.name.removeprefix(f"{feature.view}__")] = values[feature.name]
        stored[key] = {view: StoredRow(time.time() - 60, of_view) for view, of_view in views.items()}

    answered = await _post(model, stored, "/predict_batch", {"customer_ids": list(stored)})
    explained = await _post(model, stored, "/explain", {"customer_id": next(iter(stored))})

    outputs = task_outputs(model.contract)
    expected = outputs.values(outputs.of(np.asarray(made.answer(inputs))))
    for row, of_row in zip(answered.json()["predictions"], expected, strict=True):
        assert "ok" == row["status"]
        for output, value in zip(model.contract.outputs, of_row, strict=True):
            same = value if isinstance(value, str | bool) else pytest.approx(value, rel=1e-4, abs=1e-5)
            assert same == row[output.name]
    error = explained.json()["error"]
    assert (501, "not_explainable") == (explained.status_code, error["code"])
    assert "this model came as ONNX without a pipeline; it has no exact explanation" == error["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_is_scored_in_a_batch(models: Registry, contract: ModelContract, kind: TaskKind) -> None:
    artefacts, orders = models.opened.artefacts, OrderAddresses.of({}, models.root)
    now = datetime.now(UTC).replace(microsecond=0)
    lines = [f"{n:05d},{(now - timedelta(days=2 + 3 * n)).isoformat()},{10 + n},1" for n in range(1, 40)]
    own = models.root / "own.csv"
    own.write_text("\n".join(["customer_id,event_timestamp,amount,items", *lines]) + "\n")
    write_own(orders.orders, own, now)
    build_features(artefacts, orders, JobsSettings(), now)
    apply(artefacts)
    with elsewhere(models, contract.feature_schema, kind) as made:
        import_model(artefacts, NAME, str(made.register().version), artefacts.mlflow_tracking_uri)
    model = open_model(models.pinned)

    done = score_batch(artefacts, model, BatchRequest(now, models.root / "out", None), now)

    table = pq.read_table(next(done.partition.glob("*.parquet"))).to_pylist()
    assert [f"{n:05d}" for n in range(1, 40)] == [row["customer_id"] for row in table]
    assert all(row[output.name] is not None for row in table for output in model.contract.outputs)
