"""Each task over a real HTTP server, with its own key and entity: as documented, and equal to MLflow's server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import httpx
import mlflow.sklearn
import numpy as np
import pytest
import uvicorn
from mlflow.models import infer_signature
from mlflow.pyfunc import load_model, scoring_server
from prometheus_client import CollectorRegistry

from contract import EntityKey, ModelContract
from contract.tasks import TaskKind
from scoring.models.trusted_types import TRUSTED_TYPES
from service.api.authentication import ApiKeys
from service.api.connection_limits import BoundedHttpProtocol
from service.api.routing import HttpApi, ServingSlot
from service.assembly import serving_of
from service.features.guard import GuardedFeatures
from service.prediction.predictor import Predictor
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import (
    DAY,
    DAYS_SINCE,
    DEFAULTS,
    ORDERS,
    SPEND,
    FakeOnlineFeatures,
    contract_of,
    small_contract,
    small_pipeline,
    store_model,
    training_rows,
)
from tests.models.scoring_requests import five_forms
from tests.unit.service.api.test_openapi import check
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import Api, bentoml_app

KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
CLASSES = ["low", "middle", "high"]
OUTPUTS = {
    "binary": ["churn_probability", "churn"],
    "multiclass": ["segment_probabilities", "segment"],
    "regression": ["spend"],
}
SPACES = {"binary": "log-odds", "multiclass": "class score", "regression": "value"}


def household_contract(kind: TaskKind) -> ModelContract:
    """With a key and an entity that no other test has; a row without orders is refused."""
    inputs = small_contract(policies={ORDERS: {"on_missing": "refuse"}}).inputs
    made = contract_of(kind)
    schema = made.feature_schema.model_copy(
        update={"entity_keys": (EntityKey(join_key="household_id", dtype="string"),)}
    )
    return made.model_copy(update={"inputs": inputs, "feature_schema": schema, "entity": "household"})


@asynccontextmanager
async def serving(folder: Path, kind: TaskKind) -> AsyncIterator[Api]:
    """The service's HTTP server on a port of its own, over an online store in memory."""
    contract = household_contract(kind)
    rows = {
        "h1": live_customer(),
        "stale": live_customer(activity_age=3 * DAY),
        "long gone": live_customer(spend=0.0, orders_30d=0, days_since=400.0),
        "refused": live_customer(orders=None),
        "far": live_customer(spend=3e38, orders_30d=4),
    }
    store, registry = FakeOnlineFeatures(contract, rows), CollectorRegistry()
    metrics, settings = ServiceMetrics(contract.model_name, registry), ServiceSettings(deadline_ms=2500, max_batch=10)
    predictor = Predictor(store_model(folder, contract).load(), GuardedFeatures(store, 2.5, metrics, None), metrics)
    made = serving_of(predictor, settings, metrics, ApiKeys.of("", ""))
    app: Any = HttpApi(bentoml_app, ServingSlot(made))
    config = uvicorn.Config(app, port=0, http=BoundedHttpProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield Api(client, store, made, registry)
    server.should_exit = True
    await running


def outputs_fit(kind: TaskKind, row: dict[str, Any]) -> None:
    """Hold the outputs of a scored row against the rules of their task."""
    values = [row[name] for name in OUTPUTS[kind]]
    if kind == "binary":
        probability, decision = values
        assert decision == (probability >= 0.5)
    elif kind == "multiclass":
        probabilities, name = values
        assert CLASSES == list(probabilities)
        assert 1 == pytest.approx(sum(probabilities.values()), abs=1e-6)
        assert name == max(probabilities, key=probabilities.get)
    else:
        assert values[0] >= 0


@pytest.mark.parametrize("kind", KINDS)
async def test_every_answer_of_a_task_is_as_its_document_says(tmp_path: Path, kind: TaskKind) -> None:
    async with serving(tmp_path, kind) as api:

        async def post(path: str, body: object) -> tuple[int, Any]:
            answer = await api.client.post(path, json=body)
            return await check(api, answer), answer.json()

        status, fresh = await post("/predict", {"household_id": "h1"})
        assert 200 == status
        members = ["request_id", "model", "household_id", *OUTPUTS[kind], "status", "feature_issues", "cached_seconds"]
        assert members == list(fresh)
        assert ("h1", "ok") == (fresh["household_id"], fresh["status"])
        outputs_fit(kind, fresh)

        status, overridden = await post("/predict", {"household_id": "h1", "features": {SPEND: 7.5}})
        assert (200, "degraded") == (status, overridden["status"])
        assert ["overridden"] == [issue["state"] for issue in overridden["feature_issues"]]
        assert fresh[OUTPUTS[kind][0]] != overridden[OUTPUTS[kind][0]]
        outputs_fit(kind, overridden)

        asked = ["h1", "nobody", "stale", "refused", "h1"]
        status, batch = await post("/predict_batch", {"household_ids": asked})
        assert 200 == status
        assert ["ok", "unknown_household", "degraded", "refused", "ok"] == [r["status"] for r in batch["predictions"]]
        assert asked == [row["household_id"] for row in batch["predictions"]]
        for row in batch["predictions"]:
            if row["status"] in ("ok", "degraded"):
                outputs_fit(kind, row)
            else:
                assert [None] * len(OUTPUTS[kind]) == [row[name] for name in OUTPUTS[kind]]

        for call in ("/predict", "/explain"):
            status, unknown = await post(call, {"household_id": "nobody"})
            assert (404, "no features are stored for this household") == (status, unknown["error"]["message"])
            assert ("unknown_household", "household_id") == (unknown["error"]["code"], unknown["error"]["field"])
            assert 422 == (await post(call, {"household_id": "refused"}))[0]
        for body, field in (
            ({"customer_id": "h1"}, "household_id"),
            ({"household_id": 7}, "household_id"),
            ({"household_id": "h1", "spend": 3}, "spend"),
            ({"household_id": "h1", "features": {SPEND: "much"}}, f"features.{SPEND}"),
        ):
            status, wrong = await post("/predict", body)
            assert (400, field) == (status, wrong["error"]["field"])
        status, many = await post("/predict_batch", {"household_ids": ["h1"] * 11})
        assert (413, "household_ids") == (status, many["error"]["field"])

        model = await api.client.get("/model")
        assert 200 == await check(api, model)
        contract = model.json()["contract"]
        assert (kind, "household") == (contract["task"]["kind"], contract["entity"])
        assert OUTPUTS[kind] == [output["name"] for output in contract["outputs"]]
        for status_name in ("unknown_household", "refused", "degraded"):
            assert api.metric("model_service_predictions_total", model="small_churn", status=status_name) >= 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_explanation_adds_up_to_the_models_own_score_and_names_it(tmp_path: Path, kind: TaskKind) -> None:
    async with serving(tmp_path, kind) as api:
        answer = await api.client.post("/explain", json={"household_id": "h1"})
        assert 200 == await check(api, answer)

        body = answer.json()
        assert SPACES[kind] == body["space"]
        value_of = {each["feature"]: each["value"] for each in body["contributions"]}
        rows = training_rows(rows=1)[0]
        rows.loc[0] = [value_of[name] for name in rows.columns]
        score = body["base_value"] + sum(each["contribution"] for each in body["contributions"])
        pipeline = small_pipeline(kind)
        if kind == "regression":
            assert score == pytest.approx(pipeline.predict(rows)[0], rel=1e-5)
        elif kind == "binary":
            assert score == pytest.approx(pipeline.decision_function(rows)[0], rel=1e-5)
        else:
            position = CLASSES.index(body["explained_class"])
            assert body["segment"] == body["explained_class"]
            assert score == pytest.approx(pipeline.decision_function(rows)[0, position], rel=1e-5)


async def test_a_value_beyond_a_bound_is_answered_as_the_bound_but_not_in_mlflows_protocol(tmp_path: Path) -> None:
    row = {**DEFAULTS, SPEND: 0.0, DAYS_SINCE: 400.0}
    async with serving(tmp_path, "regression") as api:
        answered = await api.client.post("/predict", json={"household_id": "long gone"})
        raw = await api.client.post("/invocations", json={"instances": [row]})

        assert (200, 0.0) == (answered.status_code, answered.json()["spend"])
        assert raw.json()["predictions"][0] < 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_row_whose_score_overflows_is_refused_in_the_words_of_its_task(tmp_path: Path, kind: TaskKind) -> None:
    noun = "value" if kind == "regression" else "probability"
    async with serving(tmp_path, kind) as api:
        row = {**DEFAULTS, SPEND: 3e38}
        api.serving.predictor.model.__dict__["score"] = lambda matrix: np.full(
            (len(matrix), 3) if kind == "multiclass" else len(matrix), np.nan, dtype=np.float32
        )
        predicted = await api.client.post("/predict", json={"household_id": "far"})
        invoked = await api.client.post("/invocations", json={"instances": [row]})

        assert (422, 400) == (predicted.status_code, invoked.status_code)
        assert f"the model has no {noun} for" in predicted.json()["error"]["message"]
        assert f"the model has no {noun} for" in invoked.json()["error"]["message"]


@pytest.mark.parametrize("kind", KINDS)
async def test_invocations_answers_what_mlflows_own_server_answers(tmp_path: Path, kind: TaskKind) -> None:
    pipeline, rows = small_pipeline(kind), training_rows(seed=3, rows=6)[0]
    predict = "predict" if kind == "regression" else "predict_proba"
    mlflow.sklearn.save_model(
        pipeline,
        tmp_path / "mlflow",
        serialization_format="skops",
        skops_trusted_types=sorted(TRUSTED_TYPES),
        pyfunc_predict_fn=predict,
        signature=infer_signature(rows, getattr(pipeline, predict)(rows)),
    )
    mlflows = httpx.ASGITransport(app=scoring_server.init(load_model(str(tmp_path / "mlflow"))))

    async with (
        serving(tmp_path / "ours", kind) as api,
        httpx.AsyncClient(transport=mlflows, base_url="http://m") as them,
    ):
        for request in five_forms(list(rows.columns), rows.to_numpy(np.float64).tolist()).values():
            headers = {"Content-Type": request.content_type}
            ours = await api.client.post("/invocations", content=request.body, headers=headers)
            theirs = await them.post("/invocations", content=request.body, headers=headers)

            assert 200 == theirs.status_code, theirs.text
            assert 200 == await check(api, ours)
            expected, found = json.loads(theirs.text), ours.json()
            assert expected.keys() == found.keys() == {"predictions"}
            assert np.shape(expected["predictions"]) == np.shape(found["predictions"])
            np.testing.assert_allclose(found["predictions"], expected["predictions"], rtol=1e-5, atol=1e-6)
