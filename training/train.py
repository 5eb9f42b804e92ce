"""Trains, evaluates, logs and registers: from the offline store to a model version with its contract."""

import logging
from functools import partial
from importlib.metadata import version as installed_version

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from artefacts.cutoffs import Cutoffs
from contract import BinaryTask, DecisionThreshold, Headline, ModelContract, outputs_of
from contract.histogram import Histogram
from contract.inputs import COUNTED_AT
from training.compilation.preflight import check_candidate
from training.data.dataset import TrainingData, built_from
from training.errors import GateError
from training.evaluate import evaluate_test_rows, log_request_hours, recency_scores
from training.fit import CLASS_NAMES, Split, check_classes, choose_candidate, fit_candidate
from training.gate.rules import GATE, PASSED, Evidence, gate_advice, measure, objections
from training.model_inputs import describe_inputs, fingerprint, resolve_inputs
from training.pipeline import CANDIDATES
from training.settings import TrainingLogSettings, TrainingSettings
from training.target import ACTIVE, label_of, populations_of
from training.tracking import run_log
from training.tracking.plots import ScoredPopulation

_LOG = logging.getLogger(__name__)

_LIBRARIES = ("scikit-learn", "numpy", "pandas", "feast", "mlflow", "skops")


def train_version(client: MlflowClient, artefacts: Artefacts, settings: TrainingSettings) -> ModelVersion:
    """Run one training, from features to a registered version that may be served; moves no alias.

    Raises:
        DatasetError: the features give no training set.
        TrainingError: a candidate could not be registered or served; raised before any is fitted on all rows.
        GateError: the model was registered but may not be served.
    """
    built = built_from(artefacts)  # read before the rows, so that a build that comes meanwhile counts as new data
    _LOG.info("opening the feature store")
    data = TrainingData(artefacts, settings.feature_service)
    cutoffs = data.cutoffs(settings)
    rows = {}
    for split, times in (
        ("training", cutoffs.training),
        ("validation", (cutoffs.validation,)),
        ("test", (cutoffs.test,)),
    ):
        _LOG.info(f"point-in-time join of the {split} rows")
        rows[split] = data.rows(times, settings)
        check_classes(split, rows[split])
    train_rows, validation_rows, test_rows = rows.values()
    _LOG.info(
        f"training rows {len(train_rows.churned):,} from {len(cutoffs.training)} cut-offs, validation "
        f"{len(validation_rows.churned):,} at {cutoffs.validation:%Y-%m-%d}, test {len(test_rows.churned):,} "
        f"at {cutoffs.test:%Y-%m-%d}"
    )
    inputs = describe_inputs(data.schema, train_rows.raw, test_rows.raw)
    training, validation, test = (
        Split(rows, resolve_inputs(inputs, data.schema, rows.raw)) for rows in (train_rows, validation_rows, test_rows)
    )

    task = BinaryTask(classes=CLASS_NAMES, threshold=DecisionThreshold(value=0.5, rule="none yet"))
    for name, candidate in CANDIDATES.items():
        check_candidate(name, partial(candidate, settings.seed), training.matrix, training.rows.churned, task)
    with run_log.new_run(client, settings.model_name):
        name, threshold = choose_candidate(training, validation, settings)
        both = pd.concat([training.matrix, validation.matrix], ignore_index=True)
        labels = np.concatenate([training.rows.churned, validation.rows.churned])
        _LOG.info(f"{name} is best; fitting it again on training and validation, {len(both):,} rows")
        pipeline = fit_candidate(name, settings, both, labels)
        probability, recency = test.score(pipeline), recency_scores(test, settings)
        estimates, calibration_error = evaluate_test_rows(probability, recency, test, settings)
        log_request_hours(data.view_ages(test_rows.entities), test_rows, probability)
        measured = measure(test.rows.churned, test.rows.active, recency, probability, settings)
        estimates |= measured.estimates
        _LOG.info(str(measured))
        parameters = settings.model_dump(exclude=set(TrainingLogSettings.model_fields))
        mlflow.log_params({"candidate": name, **parameters, **_dates(cutoffs)})
        run_log.log_metrics(estimates, calibration_error)
        for population, chosen in test.populations.items():
            run_log.log_figures(
                "binary",
                ScoredPopulation(
                    name=population,
                    labels=test.rows.churned[chosen],
                    scores=probability[chosen],
                    classes=CLASS_NAMES,
                    baseline=("recency only", recency[chosen]),
                ),
            )
        drafted = ModelContract(
            model_name=settings.model_name,
            model_version="",
            run_id="",
            feature_schema=data.schema,
            inputs=inputs,
            entity="customer",
            task=BinaryTask(classes=CLASS_NAMES, threshold=threshold),
            outputs=outputs_of("binary", "churn"),
            headline=Headline(population=ACTIVE, metric="roc_auc"),
            training_window={
                "first_cutoff": cutoffs.training[0].isoformat(),
                "last_cutoff": cutoffs.validation.isoformat(),
                "labels_until": (cutoffs.validation + settings.reach).isoformat(),
                COUNTED_AT: cutoffs.test.isoformat(),
            },
            data_fingerprint=fingerprint(data.schema, training.rows, validation.rows),
            metrics={key: round(e.value, 6) for key, e in estimates.items()},
            library_versions={library: installed_version(library) for library in _LIBRARIES},
            scores=Histogram.of(probability),
            label=label_of(settings),
            populations=populations_of(settings),
        )
        test_set = test.matrix.assign(
            event_timestamp=test.rows.entities["event_timestamp"],
            active=test.rows.active,
            churned=test.rows.churned,
            probability=probability,
        )
        registered = run_log.register(client, pipeline, test_set, drafted, built)
    version = registered.version
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


def _dates(cutoffs: Cutoffs) -> dict[str, str]:
    return {
        "cutoffs_training": ",".join(t.date().isoformat() for t in cutoffs.training),
        "cutoff_validation": cutoffs.validation.date().isoformat(),
        "cutoff_test": cutoffs.test.date().isoformat(),
    }
