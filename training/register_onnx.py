"""Registers a model that was trained elsewhere: an ONNX file and the scores that its own framework gave of our rows."""

from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from contract import BinaryTask, Task
from scoring.agreement import spread_of
from scoring.errors import ModelError
from scoring.evaluation import Floats
from scoring.models.classes import check_probabilities
from scoring.task_outputs import rules_of
from training.compilation import onnx_file, onnx_model
from training.errors import DatasetError, TrainingError
from training.fit import Split
from training.registration import ScoredModel, evaluate_scores, judge_registered
from training.row_splits.split_rows import REQUESTED_AT
from training.settings import TrainingSettings
from training.splits import SPLIT, Splits, read_splits
from training.target import with_settings
from training.tracking import run_log
from training.tracking.owner import refuse_other_owner
from training.tracking.test_rows import score_columns, scores_in, test_rows
from training.use_case_folder import load_use_case, name_of_folder

_LIBRARIES = ("onnx", "onnxruntime", "numpy", "pandas", "feast", "mlflow")


def register_onnx(
    client: MlflowClient, artefacts: Artefacts, settings: TrainingSettings, model: Path, scores: Path
) -> ModelVersion:
    """Register an ONNX file as a version that may be served; moves no alias.

    Metrics, threshold and test rows are of the recorded scores; the file must give the same.

    Args:
        model: takes the inputs in the contract's order, float32 (n, k).
        scores: Parquet: join keys, event_timestamp and `score_columns`, for each validation and test row.

    Raises:
        UseCaseError: the use case contradicts itself or the feature registry, or its model's name is that of another
            use case; raised before a row is read.
        DatasetError: the features give no rows, or the recorded scores are not of these rows.
        TrainingError: the file cannot be served, or answers otherwise than the recorded scores.
        GateError: the model was registered but may not be served.
    """
    case = with_settings(load_use_case(artefacts.use_case), settings)
    owner = name_of_folder(artefacts.use_case)
    refuse_other_owner(client, settings.model_name, owner)
    recorded = _read_scores(scores)
    try:
        document = onnx_file.with_class(onnx_file.read(model), case.task)
    except ModelError as error:
        raise TrainingError(f"{model}: {error}") from None
    splits = read_splits(artefacts, case, settings, fits=False)
    validation, test = splits.validation, splits.test
    width = len(case.task.class_names) if case.task.kind == "multiclass" else None
    try:
        of_validation = _scores_of(recorded, splits, "validation", width)
        of_test = _scores_of(recorded, splits, "test", width)
        if case.task.class_names:
            for given in (of_validation, of_test):
                of_classes = given if width else np.column_stack([1 - given, given])
                check_probabilities(of_classes, len(given), case.task.class_names)
    except (ModelError, TrainingError) as error:
        raise DatasetError(f"{scores}: {error}") from None
    try:
        onnx_file.check(document, case.task, len(splits.inputs))
        task = _apart(case.task.promised(validation.labels, of_validation), of_validation)
        _refuse_other_answers(document, "validation", validation, of_validation, task)
        _refuse_other_answers(document, "test", test, of_test, task)
    except (ModelError, TrainingError) as error:
        raise TrainingError(f"{model}: {error}") from None
    with run_log.new_run(client, settings.model_name, f"register {model.name}"):
        scored = ScoredModel(model.stem, task, rules_of(task).of(of_test)[0], _LIBRARIES)
        evaluated = evaluate_scores(case, splits, scored, settings)
        test_set = test_rows(test.matrix, splits.test_times, test.labels, test.populations, of_test)
        registered = run_log.register_onnx(client, document, test_set, evaluated.contract, splits.built)
    return judge_registered(client, registered, evaluated, owner, settings)


def _read_scores(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except FileNotFoundError:
        raise DatasetError(f"{file} does not exist") from None
    except Exception as error:  # pyarrow and the system have no common class
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"{file} is no Parquet file that can be read: {said}") from None


def _scores_of(recorded: pd.DataFrame, splits: Splits, name: str, width: int | None) -> Floats:
    """The recorded scores in the order of a split's rows; rows of no split are ignored.

    Raises:
        DatasetError: a column is missing, or a row has no score, more than one, or none that is a number.
    """
    entities = splits.by_name[name].rows.entities
    keys = list(entities.columns)
    columns = score_columns(width)
    if missing := [column for column in (*keys, *columns) if column not in recorded]:
        raise DatasetError(f"there is no column {missing[0]!r}; {', '.join([*keys, *columns])} are needed")
    given = recorded[[*keys, *columns]].copy()
    try:
        given[REQUESTED_AT] = pd.to_datetime(given[REQUESTED_AT], utc=True)
        given = given.astype({key: entities[key].dtype for key in keys})
        given[columns] = given[columns].astype(np.float64)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"its values cannot be read: {str(error).splitlines()[0]}") from None
    if given.duplicated(keys).any():
        raise DatasetError(f"a row is there twice; {', '.join(keys)} tell the rows apart")
    matched = entities.merge(given, on=keys, how="left", validate="one_to_one")
    scores = scores_in(matched, width)
    if lacking := int((~np.isfinite(scores.reshape(len(scores), -1)).all(axis=1)).sum()):
        raise DatasetError(
            f"{lacking:,} of {len(scores):,} {name} rows have no finite score; `make rows` writes today's rows "
            f"(column {SPLIT!r}), and data or settings may have changed since they were scored"
        )
    return scores


def _apart(task: Task, scores: Floats) -> Task:
    """The task with a threshold that rounding does not pass: below it by twice the allowed difference.

    A rule chooses one of the scores as threshold. Trees give the same score to many rows, and all of them would be
    decided otherwise by a model whose last digit differs.
    """
    if not isinstance(task, BinaryTask):
        return task
    at = task.threshold.value
    below = scores[scores < at - onnx_model.MAX_DIFFERENCE]
    gap = at - float(below.max()) if len(below) else at
    if np.abs(scores - at).min() > onnx_model.MAX_DIFFERENCE:
        return task
    moved = max(at - min(gap / 2, 2 * onnx_model.MAX_DIFFERENCE), 0.0)
    return task.model_copy(update={"threshold": task.threshold.model_copy(update={"value": round(moved, 6)})})


def _refuse_other_answers(document: bytes, name: str, rows: Split, recorded: Floats, task: Task) -> None:
    unit = spread_of(recorded) if task.kind == "regression" else 1.0
    comparison = onnx_model.compare_recorded(document, rows.matrix, recorded, task, unit)
    if not comparison.equal:
        said = comparison.on_rows.replace("test rows", f"{name} rows")
        allowed = f"allowed {onnx_model.MAX_DIFFERENCE:.0e}"
        raise TrainingError(f"it answers otherwise than the recorded scores ({allowed}): {said}")
