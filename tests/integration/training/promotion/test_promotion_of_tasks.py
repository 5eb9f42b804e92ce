"""Multi-class and regression models are trained, challenged, promoted and rolled back as binary ones are."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from artefacts.addresses import Artefacts
from artefacts.cutoffs import Cutoffs
from contract import FeatureSchema
from jobs.feature_store import apply
from scoring.models.model_store import open_model
from tests.models.churn_model import churn_contract
from training import splits
from training.bento_import import import_model
from training.data.dataset import LabelledRows
from training.errors import GateError
from training.promotion.challenge import challenge
from training.promotion.listing import models as listed
from training.promotion.moves import promote, promote_trained, roll_back
from training.promotion.registry_moves import OpenedRegistry
from training.row_splits import time_splits
from training.row_splits.split_rows import Part
from training.settings import TrainingSettings
from training.tasks import Task
from training.tracking import registry
from training.train import train_version
from training.use_case_folder import load_use_case

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ROWS = 900
HEAD = """
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from training.use_case import ByFeature, Gate, Multiclass, Regression, UseCase, at_least

ORDERS, RECENCY = "customer_lifetime__order_count", "customer_recency__days_since_last_order"
"""
SEGMENT = (
    HEAD
    + """
USE_CASE = UseCase(
    name="segment", feature_service="churn_v1", task=Multiclass("segment", ("low", "middle", "high")),
    labels=lambda environ: None, baseline=ByFeature(ORDERS), segments=(ORDERS + ":20",),
    candidates={"logistic": lambda seed: make_pipeline(StandardScaler(), LogisticRegression(random_state=seed))},
    populations={"frequent": at_least(ORDERS, 5)}, headline=("frequent", "log_loss"),
    gate=Gate(max_calibration_error=0.2, max_calibration_loss=0.1),
)
"""
)
SPEND = (
    HEAD
    + """
USE_CASE = UseCase(
    name="spend", feature_service="churn_v1", task=Regression("spend", at_least=0.0, unit="USD"),
    labels=lambda environ: None, baseline=ByFeature(RECENCY, scale=2.5), segments=(ORDERS + ":20",),
    candidates={"ridge": lambda seed: make_pipeline(StandardScaler(), Ridge(random_state=seed))},
    gate=Gate(max_calibration_error=10, max_calibration_loss=5, max_loss=1, max_segment_loss=1),
)
"""
)


def labels_of(task: Task, matrix: pd.DataFrame, random: np.random.Generator) -> "pd.Series[Any]":
    level = matrix["customer_lifetime__order_count"] + 2 * matrix["customer_recency__days_since_last_order"]
    level = level + random.normal(0, 5, len(matrix))
    if task.kind == "regression":
        return pd.Series(level.clip(lower=0))
    return pd.Series(np.array(task.class_names)[np.searchsorted([35.0, 65.0], level)])


@dataclass(frozen=True)
class Trained:
    """A registry with the use case of one task; `shuffled` breaks the labels of the next training."""

    opened: OpenedRegistry
    shuffled: list[bool]

    def version(self) -> str:
        return str(train_version(self.opened.client, self.opened.artefacts, self.opened.settings).version)

    @property
    def pinned(self) -> str:
        tag = self.opened.artefacts.model_tag.read_text().strip()
        return open_model(tag).contract.model_version


@pytest.fixture(params=["segment", "spend"])
def trained(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trained]:
    folder = tmp_path / "cases" / request.param
    folder.mkdir(parents=True)
    (folder / "use_case.py").write_text({"segment": SEGMENT, "spend": SPEND}[request.param])
    monkeypatch.setenv("USE_CASE", str(folder))
    artefacts = Artefacts.of({"USE_CASE": str(folder)}, tmp_path)
    apply(artefacts)
    schema, shuffled = churn_contract(artefacts).feature_schema, [False]

    class Data:
        """Rows as the point-in-time join gives them."""

        entity, filled = "customer", ""

        def __init__(self, *_: object) -> None:
            self.schema: FeatureSchema = schema

        def view_ages(self, entities: pd.DataFrame) -> dict[str, "np.ndarray[Any, np.dtype[np.float64]]"]:
            return {"customer_lifetime": np.arange(len(entities), dtype=np.float64)}

        def rows(self, parts: Sequence[Part], task: Task) -> LabelledRows:
            times = [part.cutoff for part in parts if part.cutoff is not None]
            random = np.random.default_rng(times[0].month)
            names = [feature.name for feature in schema.features]
            matrix = pd.DataFrame(random.exponential(20, (ROWS, len(names))).astype(np.float32), columns=names)
            labels = task.labels(labels_of(task, matrix, random))
            if shuffled[0] and times[0] != NOW - timedelta(days=91):
                labels = random.permutation(labels)
            ids = pd.DataFrame({"customer_id": [str(n) for n in range(ROWS)], "event_timestamp": times[0]})
            return LabelledRows(ids, matrix.astype(np.float64), labels, {})

    cutoffs = Cutoffs((NOW - timedelta(days=273),), NOW - timedelta(days=182), NOW - timedelta(days=91))
    monkeypatch.setattr(splits, "TrainingData", Data)
    monkeypatch.setattr(time_splits, "_events", lambda labels: labels)
    monkeypatch.setattr(time_splits, "cutoffs_of", lambda *_: cutoffs)
    monkeypatch.setattr(time_splits, "parts_at", lambda _, times, *__: [Part(pd.DataFrame(), at) for at in times])
    store = tmp_path / "bentoml" / "models"
    store.mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(store))
    settings = TrainingSettings(bootstrap_resamples=40, max_slowdown=1_000)
    yield Trained(OpenedRegistry.of(artefacts, settings), shuffled)
    BentoMLContainer.model_store.reset()


def test_a_version_challenges_is_promoted_and_is_rolled_back(trained: Trained) -> None:
    opened, name = trained.opened, trained.opened.name
    first = trained.version()
    promote_trained(opened, registry.version_of(opened.client, name, first))
    import_model(opened.artefacts, name, "champion", opened.artefacts.mlflow_tracking_uri)
    second = trained.version()

    challenge(opened, second, "shadow", 0.1)
    promoted = promote(opened, second)

    assert (first, second, False) == (promoted.entry.from_version, promoted.entry.to_version, promoted.entry.forced)
    assert second == trained.pinned
    assert {"not worse"} == set(promoted.entry.evidence["verdicts"].values())
    assert 0 == promoted.entry.evidence["changed_decisions"]
    population, metric = load_use_case(opened.artefacts.use_case).judged_by
    assert f"{population}_{metric}" in promoted.entry.evidence
    assert f"{population}_{metric}" in json.dumps(
        registry.contract_of(opened.client.get_model_version(name, second)).metrics
    )
    assert second in listed(opened)

    roll_back(opened, None, "back")

    assert first == trained.pinned
    assert {"champion": first} == registry.aliases_of(opened.client, name)


def test_a_version_of_shuffled_labels_does_not_pass_the_gate_and_the_champion_stays(trained: Trained) -> None:
    opened = trained.opened
    first = trained.version()
    promote_trained(opened, registry.version_of(opened.client, opened.name, first))
    trained.shuffled[0] = True

    with pytest.raises(
        GateError, match=r"is registered without an alias, the served model stays: .*(log loss|mean absolute error) of"
    ):
        trained.version()

    with pytest.raises(GateError, match="worse by more than"):
        promote(opened, "2")
    assert {"champion": first} == registry.aliases_of(opened.client, opened.name)
