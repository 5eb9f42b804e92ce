"""Trains, evaluates, logs and registers: from the offline store to a model version with its contract."""

import logging
import os
from functools import partial
from importlib.metadata import version as installed_version

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from artefacts.cutoffs import Cutoffs
from contract import ClassScores, Headline, ModelContract, outputs_of
from contract.histogram import Histogram
from contract.inputs import COUNTED_AT
from scoring.evaluation import Floats, metrics_of
from training.compilation.preflight import check_candidate
from training.data.dataset import TrainingData, built_from, cutoffs_of
from training.errors import GateError
from training.evaluate import calibration_of_all, evaluate_test_rows, log_ages, log_groups
from training.fit import Split, check_classes, check_labels, choose_candidate, fit_candidate
from training.gate.rules import GATE, PASSED, Evidence, gate_advice, measure, objections
from training.model_inputs import describe_inputs, fingerprint, resolve_inputs
from training.settings import TrainingLogSettings, TrainingSettings
from training.target import label_of, with_settings
from training.tracking import run_log
from training.tracking.owner import USE_CASE, refuse_other_owner
from training.tracking.plots import ScoredPopulation
from training.tracking.test_rows import test_rows
from training.use_case import UseCase
from training.use_case_checks import check_before_reading
from training.use_case_folder import load_use_case, name_of_folder

_LOG = logging.getLogger(__name__)

_LIBRARIES = ("scikit-learn", "numpy", "pandas", "feast", "mlflow", "skops")


def train_version(client: MlflowClient, artefacts: Artefacts, settings: TrainingSettings) -> ModelVersion:
    """Run one training, from features to a registered version that may be served; moves no alias.

    Raises:
        UseCaseError: the use case contradicts itself or the feature registry, or its model's name is that of another
            use case; raised before a row is read.
        DatasetError: the features give no training set.
        TrainingError: a candidate could not be registered or served; raised before any is fitted on all rows.
        GateError: the model was registered but may not be served.
    """
    case = with_settings(load_use_case(artefacts.use_case), settings)
    owner = name_of_folder(artefacts.use_case)
    refuse_other_owner(client, settings.model_name, owner)
    metrics = metrics_of(case.task.kind)
    built = built_from(artefacts)  # read before the rows, so that a build that comes meanwhile counts as new data
    _LOG.info("opening the feature store")
    data = TrainingData(artefacts, settings.feature_service)
    check_before_reading(case, data.schema, settings)
    source = case.labels(os.environ)
    cutoffs = cutoffs_of(source, settings)
    read = {}
    for split, times in (
        ("training", cutoffs.training),
        ("validation", (cutoffs.validation,)),
        ("test", (cutoffs.test,)),
    ):
        _LOG.info(f"point-in-time join of the {split} rows")
        read[split] = data.rows(source, case.task, times, settings)
    _LOG.info(
        f"training rows {len(read['training'].labels):,} from {len(cutoffs.training)} cut-offs, validation "
        f"{len(read['validation'].labels):,} at {cutoffs.validation:%Y-%m-%d}, test {len(read['test'].labels):,} "
        f"at {cutoffs.test:%Y-%m-%d}"
    )
    inputs = describe_inputs(data.schema, read["training"].raw, read["test"].raw)
    splits = {}
    for split, rows in read.items():
        splits[split] = Split.of(rows, resolve_inputs(inputs, data.schema, rows.raw), case.populations)
        check_labels(split, splits[split], case.task)
    training, validation, test = splits.values()
    check_classes(training, case.task)

    for name, candidate in case.candidates.items():
        check_candidate(name, partial(candidate, settings.seed), training.matrix, training.labels, case.task)
    with run_log.new_run(client, settings.model_name):
        name, validated = choose_candidate(case, training, validation, settings)
        both = pd.concat([training.matrix, validation.matrix], ignore_index=True)
        labels = np.concatenate([training.labels, validation.labels])
        _LOG.info(f"{name} is best; fitting it again on training and validation, {len(both):,} rows")
        pipeline = fit_candidate(name, case.candidates[name], settings.seed, both, labels)
        scores = case.task.scores(pipeline, test.matrix)
        baseline = case.baseline.fitted(case.task, both, labels)(test.matrix)
        estimates = evaluate_test_rows(case, scores, baseline, test, settings)
        mlflow.log_metrics(calibration_of_all(metrics, test, scores))
        log_ages(data.view_ages(test.rows.entities))
        log_groups(metrics, test, scores)
        measured = measure(case, test.labels, test.populations, baseline, scores, settings)
        estimates |= measured.estimates
        _LOG.info(str(measured))
        parameters = settings.model_dump(exclude=set(TrainingLogSettings.model_fields))
        mlflow.log_params({"candidate": name, **parameters, **_dates(cutoffs)})
        run_log.log_metrics(estimates)
        for name_of, chosen in test.populations.items():
            drawn = ScoredPopulation(
                name=name_of,
                labels=test.labels[chosen],
                scores=scores[chosen],
                classes=case.task.class_names,
                target=case.task.target,
                baseline=(f"{case.baseline.name} only", baseline[chosen]),
            )
            run_log.log_figures(case.task.kind, drawn)
        population, metric = case.judged_by
        drafted = ModelContract(
            model_name=settings.model_name,
            model_version="",
            run_id="",
            feature_schema=data.schema,
            entity=data.entity,
            inputs=inputs,
            task=case.task.promised(validation.labels, validated),
            outputs=outputs_of(case.task.kind, case.task.target),
            training_window={
                "first_cutoff": cutoffs.training[0].isoformat(),
                "last_cutoff": cutoffs.validation.isoformat(),
                "labels_until": (cutoffs.validation + settings.reach).isoformat(),
                COUNTED_AT: cutoffs.test.isoformat(),
            },
            data_fingerprint=fingerprint(data.schema, training.rows, validation.rows),
            metrics={key: round(e.value, 6) for key, e in estimates.items()},
            library_versions={library: installed_version(library) for library in _LIBRARIES},
            scores=_counted(case, scores),
            label=label_of(case, settings),
            populations=dict(case.populations),
            headline=Headline(population=population, metric=metric),
            age_feature=case.age_feature,
        )
        requested_at = test.rows.entities["event_timestamp"]
        test_set = test_rows(test.matrix, requested_at, test.labels, test.populations, scores)
        registered = run_log.register(client, pipeline, test_set, drafted, built)
    version = registered.version
    client.set_registered_model_tag(version.name, USE_CASE, owner)
    _LOG.info(f"registered {settings.model_name} version {version.version}")
    evidence = Evidence(
        measured=measured,
        has_signature=registered.has_signature,
        contract=registered.contract,
    )
    found = objections(evidence, settings)
    client.set_model_version_tag(version.name, version.version, GATE, "; ".join(found) or PASSED)
    if found:
        raise GateError(
            f"version {version.version} of {version.name!r} is registered without an alias, the served model stays: "
            + "; ".join(found)
            + gate_advice(found)
            + ". TRAINING_MIN_AUC_MARGIN, TRAINING_MAX_CALIBRATION_ERROR and TRAINING_GATE_CONFIDENCE set the bar. "
            f'To promote it anyway: make promote VERSION={version.version} FORCE=1 REASON="…"'
        )
    return client.get_model_version(version.name, version.version)


def _counted(case: UseCase, scores: Floats) -> Histogram | ClassScores:
    if case.task.kind != "multiclass":
        return Histogram.of(scores)
    counts = np.bincount(np.argmax(scores, axis=1), minlength=scores.shape[1])
    return ClassScores(counts=tuple(counts.tolist()), top=Histogram.of(scores.max(axis=1)))


def _dates(cutoffs: Cutoffs) -> dict[str, str]:
    return {
        "cutoffs_training": ",".join(t.date().isoformat() for t in cutoffs.training),
        "cutoff_validation": cutoffs.validation.date().isoformat(),
        "cutoff_test": cutoffs.test.date().isoformat(),
    }
