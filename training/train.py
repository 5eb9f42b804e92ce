"""Trains, evaluates, logs and registers: from the offline store to a model version with its contract."""

import logging
from functools import partial

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from scoring.models.model_frame import CodedColumns, model_frame
from training.compilation.preflight import check_candidate
from training.fit import check_classes, choose_candidate, fit_candidate
from training.registration import ScoredModel, evaluate_scores, judge_registered
from training.settings import TrainingSettings
from training.splits import read_splits
from training.target import with_settings
from training.tracking import run_log
from training.tracking.importance import log_importance
from training.tracking.owner import refuse_other_owner
from training.tracking.test_rows import test_rows
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
    splits = read_splits(artefacts, case, settings)
    training, validation, test = splits.training, splits.validation, splits.test
    check_classes(training, case.task)

    for name, candidate in case.candidates.items():
        made = partial(candidate, settings.seed)
        check_candidate(name, made, training.matrix, training.labels, case.task, CodedColumns.of(splits.inputs))
    with run_log.new_run(client, settings.model_name):
        name, validated = choose_candidate(client, case, training, validation, settings)
        both, labels = splits.fitted_on
        _LOG.info(f"{name} is best; fitting it again on training and validation, {len(both):,} rows")
        fitted_on = model_frame(splits.inputs, both.to_numpy())
        pipeline = fit_candidate(name, case.candidates[name], settings.seed, fitted_on, labels)
        scores = case.task.scores(pipeline, test.frame)
        scored = ScoredModel(name, case.task.promised(validation.labels, validated), scores, _LIBRARIES)
        evaluated = evaluate_scores(case, splits, scored, settings)
        log_importance(pipeline, splits.inputs, case.task.kind, test.matrix, settings.seed)
        test_set = test_rows(test.matrix, splits.test_times, test.labels, test.populations, scores)
        registered = run_log.register(client, pipeline, test_set, evaluated.contract, splits.built)
    return judge_registered(client, registered, evaluated, owner, settings)
