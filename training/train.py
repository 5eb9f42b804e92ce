"""Train, evaluate, log, register: from the offline store to a model version with its contract."""

import hashlib
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as installed_version

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from artefacts.addresses import Artefacts
from artefacts.cutoffs import Cutoffs
from contract import (
    DecisionThreshold,
    FeatureInput,
    FeatureSchema,
    ModelContract,
    RawFeatures,
    Resolver,
    TrainingDistribution,
)
from contract.histogram import Histogram
from contract.model_contract import COUNTED_AT, QUANTILES
from scoring.evaluation import (
    FEWEST_OF_A_CLASS,
    PROBABILITY,
    RANKING,
    Estimate,
    evaluate,
    expected_calibration_error,
    youden_threshold,
)
from training.compilation.rehearsal import rehearse
from training.data.dataset import LabelledRows, TrainingData, built_from
from training.data.served_hours import age_lines, age_metrics, same_day_line, same_day_metrics
from training.errors import DatasetError, GateError, TrainingError
from training.gate.rules import GATE, PASSED, Evidence, measure, objections, ways_out
from training.pipeline import CANDIDATES
from training.settings import TrainingSettings
from training.target import label_of, populations_of
from training.tracking import run_log

CLASS_NAMES = ("retained", "churned")
THRESHOLD_RULE = (
    "maximises true-positive minus false-positive rate (Youden's J) over all customers at the validation cut-off"
)
_LIBRARIES = ("scikit-learn", "numpy", "pandas", "feast", "mlflow", "skops")


@dataclass(frozen=True)
class Split:
    """One split, resolved to model input exactly as serving resolves it."""

    rows: LabelledRows
    matrix: pd.DataFrame

    @property
    def populations(self) -> dict[str, NDArray[np.bool_]]:
        """Who is reported on: all customers, and the active ones (the headline); masks of shape (n,)."""
        return {"all": np.ones(len(self.matrix), dtype=bool), "active": self.rows.active}

    def score(self, pipeline: Pipeline) -> NDArray[np.float64]:
        """Churn probability of each row, (n,)."""
        probability: NDArray[np.float64] = pipeline.predict_proba(self.matrix)[:, 1].astype(np.float64)
        return probability


def train_version(client: MlflowClient, artefacts: Artefacts, settings: TrainingSettings) -> ModelVersion:
    """Run one training from features to a registered version that may be served; no alias is moved.

    Raises:
        DatasetError: no training set can be made.
        TrainingError: a candidate could not be registered or served; said before any is fitted on all rows.
        GateError: the model was registered but may not be served.
    """
    built = built_from(artefacts)  # before its rows are read: a build that comes meanwhile is still new data
    _say("opening the feature store")
    data = TrainingData(artefacts, settings.feature_service)
    cutoffs = data.cutoffs(settings)
    rows = {}
    for split, times in (
        ("training", cutoffs.training),
        ("validation", (cutoffs.validation,)),
        ("test", (cutoffs.test,)),
    ):
        _say(f"point-in-time join of the {split} rows")
        rows[split] = data.rows(times, settings)
        _check_classes(split, rows[split])
    train_rows, validation_rows, test_rows = rows.values()
    _say(
        f"training rows {len(train_rows.churned):,} from {len(cutoffs.training)} cut-offs, validation "
        f"{len(validation_rows.churned):,} at {cutoffs.validation:%Y-%m-%d}, test {len(test_rows.churned):,} "
        f"at {cutoffs.test:%Y-%m-%d}"
    )
    inputs = feature_inputs(data.schema, train_rows.raw, test_rows.raw)
    training, validation, test = (
        Split(rows, model_input(inputs, data.schema, rows.raw)) for rows in (train_rows, validation_rows, test_rows)
    )

    for name, candidate in CANDIDATES.items():
        rehearse(name, partial(candidate, settings.seed), training.matrix, training.rows.churned, CLASS_NAMES)
    with run_log.new_run(client, settings.model_name):
        name, threshold = _choose(training, validation, settings)
        both = pd.concat([training.matrix, validation.matrix], ignore_index=True)
        labels = np.concatenate([training.rows.churned, validation.rows.churned])
        _say(f"{name} wins; fitting it again on training and validation, {len(both):,} rows")
        pipeline = _fitted(name, settings, both, labels)
        probability, recency = test.score(pipeline), recency_of(test, settings)
        estimates, calibration_error = _evaluate(probability, recency, test, settings)
        _tell_hours(data.view_ages(test_rows.entities), test_rows, probability)
        measured = measure(test.rows.churned, test.rows.active, recency, probability, settings)
        estimates |= measured.estimates
        _say(str(measured))
        mlflow.log_params({"candidate": name, **settings.model_dump(), **_dates(cutoffs)})
        run_log.log_metrics(estimates, calibration_error)
        for population, chosen in test.populations.items():
            run_log.log_figures(population, test.rows.churned[chosen], probability[chosen], recency[chosen])
        drafted = ModelContract(
            model_name=settings.model_name,
            model_version="",
            run_id="",
            feature_schema=data.schema,
            inputs=inputs,
            class_names=CLASS_NAMES,
            threshold=threshold,
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
    _say(f"registered {settings.model_name} version {version.version}")
    evidence = Evidence(
        measured=measured,
        has_signature=registered.has_signature,
        contract=registered.contract,
    )
    found = objections(evidence, settings)
    client.set_model_version_tag(version.name, version.version, GATE, "; ".join(found) or PASSED)
    if found:
        raise GateError(
            f"version {version.version} of {version.name!r} is registered without an alias, what is served stays: "
            + "; ".join(found)
            + ways_out(found)
            + ". TRAINING_MIN_AUC_MARGIN, TRAINING_MAX_CALIBRATION_ERROR and TRAINING_GATE_CONFIDENCE set the bar. "
            f'To serve it all the same: make promote VERSION={version.version} FORCE=1 REASON="…"'
        )
    return client.get_model_version(version.name, version.version)


def feature_inputs(schema: FeatureSchema, training: RawFeatures, test: RawFeatures) -> tuple[FeatureInput, ...]:
    """Describe every model input by the training rows, and count it on the test rows.

    Live values are held against the counts, and live scores against those of the test rows: no model has seen these,
    as it has not seen a live row. Scores of the rows that it was fitted on are further apart than any live ones.

    The default is the feature repository's if it names one, else the training median: the value that a
    row without any information is least wrong with.

    Raises:
        DatasetError: a feature has no value in any training row.
    """
    inputs = []
    for column, spec in enumerate(schema.features):
        values = training.values[:, column]
        present = values[np.isfinite(values)]
        if not len(present):
            raise DatasetError(f"feature {spec.name!r} has no value in any training row")
        quantiles = np.quantile(present, QUANTILES)
        named = spec.default is not None
        inputs.append(
            FeatureInput.model_validate(
                {
                    **spec.model_dump(),
                    "default": spec.default if named else float(np.float32(quantiles[QUANTILES.index(0.5)])),
                    "default_from": "feature_repo" if named else "training_median",
                    "distribution": TrainingDistribution(
                        quantiles=tuple(float(q) for q in quantiles),
                        null_rate=float(1 - len(present) / len(values)),
                        histogram=Histogram.of(test.values[:, column]),
                    ),
                }
            )
        )
    return tuple(inputs)


def model_input(inputs: tuple[FeatureInput, ...], schema: FeatureSchema, raw: RawFeatures) -> pd.DataFrame:
    """Resolve raw values as serving does: float32 columns named and ordered by the contract."""
    resolved = Resolver(inputs, schema.views).resolve(raw, as_of=float("nan"))
    return pd.DataFrame(resolved.matrix, columns=list(resolved.names))


def fingerprint(schema: FeatureSchema, *splits: LabelledRows) -> str:
    """sha256 of what the model was fitted on: feature names, and ids, cut-offs, values and labels of every row."""
    digest = hashlib.sha256(" ".join(f.name for f in schema.features).encode())
    for rows in splits:
        digest.update(rows.fingerprint.encode())
    return digest.hexdigest()


def _check_classes(split: str, rows: LabelledRows) -> None:
    """Neither a model nor an interval can be made of a handful of customers of one kind."""
    for population, chosen in (("all", slice(None)), ("active", rows.active)):
        churned = rows.churned[chosen]
        if min(churned.sum(), (~churned).sum()) < FEWEST_OF_A_CLASS:
            raise DatasetError(
                f"{split} split, {population} customers: {churned.sum()} churned and {(~churned).sum()} stayed; "
                f"at least {FEWEST_OF_A_CLASS} of each are needed"
            )


def _choose(training: Split, validation: Split, settings: TrainingSettings) -> tuple[str, DecisionThreshold]:
    """The candidate with the best headline ROC AUC at the validation cut-off, and its threshold there."""
    active, churned = validation.rows.active, validation.rows.churned
    scores, aucs = {}, {}
    for name in CANDIDATES:
        _say(f"fitting candidate {name}")
        fitted = _fitted(name, settings, training.matrix, training.rows.churned)
        scores[name] = validation.score(fitted)
        aucs[name] = float(roc_auc_score(churned[active], scores[name][active]))
        mlflow.log_metric(f"validation_active_roc_auc_{name}", aucs[name])
        _say(f"candidate {name}: validation ROC AUC of active customers {aucs[name]:.4f}")
    best = max(aucs, key=aucs.__getitem__)
    return best, DecisionThreshold(value=round(youden_threshold(churned, scores[best]), 6), rule=THRESHOLD_RULE)


def _fitted(name: str, settings: TrainingSettings, matrix: pd.DataFrame, labels: NDArray[np.bool_]) -> Pipeline:
    try:
        return CANDIDATES[name](settings.seed).fit(matrix, labels)
    except Exception as error:  # whatever the estimator raises
        said = (str(error).splitlines() or [""])[0]
        raise TrainingError(f"candidate {name!r} cannot be fitted: {type(error).__name__}: {said}") from error


def _evaluate(
    probability: NDArray[np.float64], recency: NDArray[np.float64], test: Split, settings: TrainingSettings
) -> tuple[dict[str, Estimate], float]:
    """All metrics at the test cut-off by population, next to the base rate and the recency-only baseline."""
    estimates: dict[str, Estimate] = {}
    for population, chosen in test.populations.items():
        churned = test.rows.churned[chosen]
        _say(f"evaluating {chosen.sum():,} {population} customers, {settings.bootstrap_resamples} resamples")
        arguments = settings.bootstrap_resamples, settings.seed
        model = evaluate(churned, probability[chosen], RANKING | PROBABILITY, *arguments)
        baseline = evaluate(churned, recency[chosen], RANKING, *arguments)
        base_rate = evaluate(
            churned, recency[chosen], {"rate": lambda y, _, w: float(np.average(y, weights=w))}, *arguments
        )
        estimates |= {f"{population}_{name}": e for name, e in model.items()}
        estimates |= {f"{population}_recency_{name}": e for name, e in baseline.items()}
        estimates[f"{population}_base_rate"] = base_rate["rate"]
        _say(f"  {'metric':<20}{'model':<24}recency only")
        for name in model:
            _say(f"  {name:<20}{model[name]!s:<24}{baseline.get(name, '')!s}")
        _say(f"  {'base rate':<20}{base_rate['rate']}")
    error = expected_calibration_error(test.rows.churned, probability)
    _say(f"  mean probability {probability.mean():.3f}; expected calibration error over all customers {error:.3f}")
    return estimates, error


def _tell_hours(ages: dict[str, NDArray[np.float64]], rows: LabelledRows, probability: NDArray[np.float64]) -> None:
    mlflow.log_metrics({**age_metrics(ages), **same_day_metrics(rows.same_day, rows.churned, probability)})
    for line in (*age_lines(ages), same_day_line(rows.same_day, rows.churned, probability)):
        _say(line)


def recency_of(split: Split, settings: TrainingSettings) -> NDArray[np.float64]:
    """The baseline's score of each row, (n,): the longer ago the last order, the more likely churned.

    Raises:
        DatasetError: the feature service has no such feature.
    """
    if settings.recency_feature not in split.matrix:
        raise DatasetError(f"TRAINING_RECENCY_FEATURE {settings.recency_feature!r} is not in the feature service")
    return split.matrix[settings.recency_feature].to_numpy(dtype=np.float64)


def _dates(cutoffs: Cutoffs) -> dict[str, str]:
    return {
        "cutoffs_training": ",".join(t.date().isoformat() for t in cutoffs.training),
        "cutoff_validation": cutoffs.validation.date().isoformat(),
        "cutoff_test": cutoffs.test.date().isoformat(),
    }


def _say(line: str) -> None:
    print(line, flush=True)
