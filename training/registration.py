"""Evaluates a model by its scores, drafts its contract, and applies the gate to the version that is registered."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version as installed_version

import mlflow
import numpy as np
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from contract import BinaryTask, ClassScores, Headline, ModelContract, Task, outputs_of
from contract.values.histogram import Histogram
from scoring.evaluation import Floats, metrics_of
from training.errors import GateError
from training.evaluate import calibration_of_all, evaluate_test_rows, log_ages, log_groups
from training.gate.rules import GATE, PASSED, Evidence, GateMetrics, gate_advice, measure, objections
from training.model_inputs import fingerprint
from training.settings import TrainingLogSettings, TrainingSettings
from training.splits import Splits
from training.target import label_of
from training.tracking import run_log
from training.tracking.data_sets import log_data_set
from training.tracking.model_card import MODEL_CARD_PATH, Card, description
from training.tracking.owner import USE_CASE
from training.tracking.plots import ScoredPopulation
from training.use_case import UseCase

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredModel:
    """A model by what it says of the test rows.

    name: of the candidate.
    task: for its contract.
    scores: of the test rows, as they are answered; (n,) or (n, c).
    libraries: that made it; the contract names their versions.
    """

    name: str
    task: Task
    scores: Floats
    libraries: Collection[str]


@dataclass(frozen=True)
class Evaluated:
    """What the test rows say of a model.

    measured: for the gate.
    contract: without `model_version` and `run_id`.
    card: all that a model card says but the version and the verdict.
    """

    measured: GateMetrics
    contract: ModelContract
    card: Card


def evaluate_scores(case: UseCase, splits: Splits, model: ScoredModel, settings: TrainingSettings) -> Evaluated:
    """Evaluate a model beside the baseline, and draft its contract; the active run gets metrics and figures."""
    training, validation, test = splits.training, splits.validation, splits.test
    scores, metrics = model.scores, metrics_of(case.task.kind)
    baseline = case.baseline.fitted(case.task, *splits.fitted_on)(test.matrix)
    estimates = evaluate_test_rows(case, scores, baseline, test, settings)
    mlflow.log_metrics(calibration_of_all(metrics, test, scores))
    log_ages(splits.test_ages())
    log_groups(metrics, test, scores)
    measured = measure(case, test.labels, test.populations, baseline, scores, settings)
    estimates |= measured.estimates
    _LOG.info(str(measured))
    for split, rows in splits.by_name.items():
        sha256 = fingerprint(splits.inputs, rows.rows)
        log_data_set(split, rows.frame, case.task.target, rows.labels, sha256, splits.schema, splits.built)
    parameters = settings.model_dump(exclude=set(TrainingLogSettings.model_fields))
    mlflow.log_params({"candidate": model.name, **parameters, **splits.labelled.parameters})
    run_log.log_metrics(estimates)
    for name_of, chosen in test.populations.items():
        drawn = ScoredPopulation(
            name=name_of,
            labels=test.labels[chosen],
            scores=scores[chosen],
            classes=case.task.class_names,
            target=case.task.target,
            baseline=(f"{case.baseline.name} only", baseline[chosen]),
            threshold=model.task.threshold.value if isinstance(model.task, BinaryTask) else None,
        )
        run_log.log_figures(case.task.kind, drawn)
    population, metric = case.judged_by
    drafted = ModelContract(
        model_name=settings.model_name,
        model_version="",
        run_id="",
        feature_schema=splits.schema,
        entity=splits.data.entity,
        inputs=splits.inputs,
        task=model.task,
        outputs=outputs_of(case.task.kind, case.task.target),
        training_window=dict(splits.labelled.window),
        data_fingerprint=fingerprint(splits.inputs, training.rows, validation.rows),
        metrics={key: round(e.value, 6) for key, e in estimates.items()},
        library_versions={library: installed_version(library) for library in model.libraries},
        scores=_counted(case, scores),
        label=label_of(case, settings),
        populations=dict(case.populations),
        headline=Headline(population=population, metric=metric),
        age_feature=case.age_feature,
    )
    card = Card(
        intended_use=case.intended_use,
        limits=case.limits,
        estimates=estimates,
        baseline=case.baseline.name,
        rows={split: len(rows.labels) for split, rows in splits.by_name.items()},
        populations={name: int(mask.sum()) for name, mask in test.populations.items()},
    )
    return Evaluated(measured, drafted, card)


def judge_registered(
    client: MlflowClient,
    registered: run_log.Registered,
    evaluated: Evaluated,
    owner: str,
    settings: TrainingSettings,
) -> ModelVersion:
    """Apply the gate to a registered version on its own; record the verdict, and describe the version by its card.

    Args:
        owner: name of the use case's folder.

    Raises:
        GateError: it may not be served.
    """
    version = registered.version
    client.set_registered_model_tag(version.name, USE_CASE, owner)
    _LOG.info(f"registered {settings.model_name} version {version.version}")
    evidence = Evidence(
        measured=evaluated.measured,
        has_signature=registered.has_signature,
        contract=registered.contract,
    )
    found = objections(evidence, settings)
    verdict = "; ".join(found) or PASSED
    client.set_model_version_tag(version.name, version.version, GATE, verdict)
    contract = registered.contract
    client.log_text(contract.run_id, evaluated.card.text(contract, version, verdict), MODEL_CARD_PATH)
    client.update_model_version(version.name, version.version, description(evaluated.card, contract, version, verdict))
    if found:
        raise GateError(
            f"version {version.version} of {version.name!r} is registered without an alias, the served model stays: "
            + "; ".join(found)
            + gate_advice(found, contract)
            + ". TRAINING_MIN_AUC_MARGIN, TRAINING_MAX_CALIBRATION_ERROR and TRAINING_GATE_CONFIDENCE set the bar. "
            f'To promote it anyway: make promote VERSION={version.version} FORCE=1 REASON="…"'
        )
    return client.get_model_version(version.name, version.version)


def _counted(case: UseCase, scores: Floats) -> Histogram | ClassScores:
    if case.task.kind != "multiclass":
        return Histogram.of(scores)
    counts = np.bincount(np.argmax(scores, axis=1), minlength=scores.shape[1])
    return ClassScores(counts=tuple(counts.tolist()), top=Histogram.of(scores.max(axis=1)))
