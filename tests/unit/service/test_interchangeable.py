"""A model takes another's place only if clients notice nothing but other numbers."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from artefacts.addresses import Artefacts
from contract import (
    BinaryTask,
    DecisionThreshold,
    EntityKey,
    ModelContract,
    MulticlassTask,
    RegressionTask,
    RequestInput,
    outputs_of,
)
from contract.feature_union import FeatureUnion
from scoring.models.imported_model import ImportedModel
from service import assembly, worker
from service.api.routing import ServingSlot
from service.errors import StartupError
from service.features.opening import OpenedFeast
from service.interchangeable import why_not_in_place
from service.release import Release
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import FakeOnlineFeatures, contract_of, small_contract, store_model

SERVED, SEVERAL, NUMBER = small_contract(), contract_of("multiclass"), contract_of("regression")
USER_KEY = SERVED.feature_schema.model_copy(update={"entity_keys": (EntityKey(join_key="user_id", dtype="string"),)})


def binary(classes: tuple[str, str], threshold: float) -> BinaryTask:
    return BinaryTask(classes=classes, threshold=DecisionThreshold(value=threshold, rule="given by the test"))


@pytest.mark.parametrize(
    ("served", "changes"),
    [
        (SERVED, {"model_version": "8"}),
        (SERVED, {"task": binary(("retained", "churned"), 0.9)}),
        (SERVED, {"inputs": SERVED.inputs[:2]}),
        (NUMBER, {"task": RegressionTask(at_least=0, at_most=9, unit="EUR")}),
    ],
)
def test_versions_thresholds_bounds_and_features_may_differ(served: ModelContract, changes: dict[str, object]) -> None:
    assert "" == why_not_in_place(served, served.model_copy(update=changes))


@pytest.mark.parametrize(
    ("served", "changes", "why"),
    [
        (SERVED, {"task": binary(("churned", "retained"), 0.5)}, "task.classes is churned, retained, and retained, ch"),
        (SERVED, {"entity": "account"}, "entity is account, and customer is served"),
        (SERVED, {"feature_schema": USER_KEY}, "join key is user_id (string), and customer_id (string) is served"),
        (
            SERVED,
            {"outputs": outputs_of("binary", "left")},
            "outputs is left_probability (probability), left",
        ),
        (SERVED, {"task": NUMBER.task, "outputs": NUMBER.outputs}, "task is regression, and binary is served"),
        (
            SEVERAL,
            {"task": MulticlassTask(classes=("low", "high"))},
            "task.classes is low, high, and low, middle",
        ),
        (NUMBER, {"task": RegressionTask(at_least=0, unit="USD")}, "task.unit is USD, and EUR is served"),
    ],
)
def test_members_and_their_meaning_must_not_differ(served: ModelContract, changes: dict[str, object], why: str) -> None:
    assert why_not_in_place(served, served.model_copy(update=changes)).startswith(why)


@pytest.fixture
def opened_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ImportedModel]:
    """Models that the service finds in the store, by tag, over an online store in memory."""
    models: dict[str, ImportedModel] = {}
    for version, contract in {"1": SERVED, "2": NUMBER, "3": SERVED}.items():
        tag = f"{contract.model_name}:v{version}"
        contract = contract.model_copy(update={"model_version": version})
        models[tag] = replace(store_model(tmp_path / version, contract).load(), tag=tag)

    def open_feast(_repo: object, _artefacts: object, *contracts: ModelContract, **_: object) -> OpenedFeast:
        async def no_snapshot() -> None:
            return None

        features = FakeOnlineFeatures(contracts[0], {})
        return OpenedFeast(features, FeatureUnion.of(*contracts), list, no_snapshot)

    registry = CollectorRegistry()
    monkeypatch.setattr(assembly, "open_model", lambda tag, role="champion": replace(models[tag], role=role))
    monkeypatch.setattr(assembly, "open_feast", open_feast)
    monkeypatch.setattr(worker, "metrics_of_process", lambda name: ServiceMetrics(name, registry))
    return models


async def test_a_champion_or_challenger_of_another_task_is_refused_by_name_and_the_live_one_goes_on(
    opened_models: dict[str, ImportedModel], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artefacts = Artefacts.of({}, tmp_path)
    artefacts.model_tag.parent.mkdir(parents=True, exist_ok=True)
    artefacts.model_tag.write_text("small_churn:v1\n")
    artefacts.challenger.write_text('{"tag": "small_churn:v2", "mode": "canary", "share": 0.5}')
    settings = ServiceSettings(allow_anonymous=True, follow_store=True, models_check_seconds=0.02)
    slot = ServingSlot()
    running = worker.Worker(settings, artefacts, slot, Release())
    running.log_startup()
    refused = "challenger small_churn:v2: task is regression, and binary is served: clients would get another API"
    assert refused in caplog.text

    async def until(text: str) -> None:
        async with asyncio.timeout(20):
            while text not in caplog.text:
                await asyncio.sleep(0.01)

    def live() -> str:
        assert slot.serving is not None
        return slot.serving.predictor.model.tag

    caplog.set_level("INFO")
    running.watch()
    artefacts.challenger.unlink()
    artefacts.model_tag.write_text("small_churn:v2\n")
    await until("what should be live is not: model small_churn:v2: task is regression, and binary is served")
    assert "small_churn:v1" == live()
    assert slot.serving is not None
    assert b'model_service_model_switch_failing{model="small_churn"} 1.0' in slot.serving.metrics.exposition()
    artefacts.model_tag.write_text("small_churn:v3\n")
    await until("live from now on: small_churn:v3")

    assert "small_churn:v3" == live()
    await running.close()


def with_inputs(*request_inputs: RequestInput) -> ModelContract:
    schema = SERVED.feature_schema.model_copy(update={"request_inputs": request_inputs})
    return SERVED.model_copy(update={"feature_schema": schema})


NEEDED = RequestInput(name="amount", dtype="float64", filled_by="request")
OPTIONAL = RequestInput(name="amount", dtype="float64", filled_by="request", default=1.0)
OTHER = RequestInput(name="amount", dtype="string", filled_by="request", default="1")
REQUIRED = "request input 'amount' is required, and clients need not send it so far. Start the service anew to serve it"


@pytest.mark.parametrize(
    ("served", "other", "why", "why_beside"),
    [
        (with_inputs(NEEDED), with_inputs(NEEDED), "", ""),
        (with_inputs(NEEDED), with_inputs(OPTIONAL), "", ""),
        (with_inputs(), with_inputs(OPTIONAL), "", ""),
        (with_inputs(), with_inputs(NEEDED), REQUIRED, REQUIRED),
        (with_inputs(OPTIONAL), with_inputs(NEEDED), REQUIRED, REQUIRED),
        (with_inputs(OPTIONAL), with_inputs(OTHER), "request input 'amount' is string, and float64", "request input"),
        (with_inputs(NEEDED), with_inputs(), "request input 'amount' is not taken, and clients may send it", ""),
    ],
)
def test_clients_never_have_to_send_more_than_before(
    served: ModelContract, other: ModelContract, why: str, why_beside: str
) -> None:
    assert why_not_in_place(served, other).startswith(why)
    assert bool(why) == bool(why_not_in_place(served, other))
    assert why_not_in_place(served, other, beside=True).startswith(why_beside)
    assert bool(why_beside) == bool(why_not_in_place(served, other, beside=True))


def test_a_model_with_a_name_of_the_history_starts_only_without_it(
    opened_models: dict[str, ImportedModel], tmp_path: Path
) -> None:
    artefacts = Artefacts.of({}, tmp_path)
    artefacts.model_tag.parent.mkdir(parents=True)
    artefacts.model_tag.write_text("small_churn:v4\n")
    contract = SERVED.model_copy(update={"outputs": outputs_of("binary", "time")})
    opened_models["small_churn:v4"] = replace(opened_models["small_churn:v1"], tag="small_churn:v4", contract=contract)
    settings = ServiceSettings(allow_anonymous=True, inference_log=True)

    said = "SERVICE_HISTORY=true: GET /history has a member time of its own, as model small_churn:v4 has; leave it off"
    with pytest.raises(StartupError, match=re.escape(said)):
        assembly.open_parts(settings.model_copy(update={"history": True}), artefacts)
    assert contract == assembly.open_parts(settings, artefacts).model.contract
