"""Fits the candidates and chooses the one with the best validation score."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient

from contract import FeatureInput, Population
from contract.model_contract import EVERYONE
from scoring.evaluation import Bools, Floats, Labels, LabelsError, metrics_of
from scoring.models.model_frame import model_frame
from training.data.dataset import LabelledRows
from training.errors import DatasetError, TrainingError
from training.settings import TrainingSettings
from training.tasks import Task
from training.tracking.run_log import candidate_run
from training.use_case import Candidate, UseCase

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """One split: labelled rows, and their model input resolved as in serving.

    matrix: float32 (n, k), categories as codes.
    populations: name → mask (n,), all rows first.
    """

    rows: LabelledRows
    matrix: pd.DataFrame
    inputs: tuple[FeatureInput, ...]
    populations: Mapping[str, Bools]

    @classmethod
    def of(
        cls,
        rows: LabelledRows,
        matrix: pd.DataFrame,
        inputs: tuple[FeatureInput, ...],
        populations: Mapping[str, Population],
    ) -> "Split":
        """A split with its populations, by the inputs that the model sees."""
        masks = {name: each.contains(matrix[each.feature].to_numpy(np.float64)) for name, each in populations.items()}
        return cls(rows, matrix, inputs, {EVERYONE: np.ones(len(matrix), dtype=bool), **masks})

    @property
    def frame(self) -> pd.DataFrame:
        """The model input as pipelines take it: categories as text."""
        return model_frame(self.inputs, self.matrix.to_numpy())

    @property
    def labels(self) -> Labels:
        """The labels of all rows."""
        return self.rows.labels


def check_labels(split: str, rows: Split, task: Task) -> None:
    """Refuse labels that do not fit the task, and a split with too few rows of a class for a model or an interval.

    Raises:
        DatasetError: names split, population and counts.
    """
    metrics = metrics_of(task.kind)
    for population, chosen in rows.populations.items():
        labels = rows.labels[chosen]
        said = metrics.too_few(labels, None, task.class_names)
        try:
            metrics.check(labels, task.class_names)
        except LabelsError as error:
            said = said or str(error)
        if said:
            raise DatasetError(f"{split} split, population {population!r}: {said}")


def check_classes(training: Split, task: Task) -> None:
    """Refuse training rows without a class: a model could not answer it.

    Raises:
        DatasetError: names the classes.
    """
    absent = [name for code, name in enumerate(task.class_names) if not (training.labels == code).any()]
    if absent:
        raise DatasetError(f"training split: {task.target!r} is never {', '.join(absent)}; a model cannot learn it")


def choose_candidate(
    client: MlflowClient, case: UseCase, training: Split, validation: Split, settings: TrainingSettings
) -> tuple[str, Floats]:
    """Choose the candidate with the best headline metric at the validation cut-off; its name and its scores there.

    Each candidate has a run of its own below the active one.
    """
    population, name_of_metric = case.judged_by
    metric = metrics_of(case.task.kind).metric(name_of_metric)
    chosen = validation.populations[population]
    scores: dict[str, Floats] = {}
    values: dict[str, float] = {}
    for name, candidate in case.candidates.items():
        _LOG.info(f"fitting candidate {name}")
        with candidate_run(client, name) as run:
            fitted = fit_candidate(name, candidate, settings.seed, training.frame, training.labels)
            scores[name] = case.task.scores(fitted, validation.frame)
            values[name] = metric(validation.labels[chosen], scores[name][chosen])
            run.log(fitted, f"validation_{population}_{name_of_metric}", values[name])
        mlflow.log_metric(f"validation_{population}_{name_of_metric}_{name}", values[name])
        _LOG.info(f"candidate {name}: validation {metric.title}, population {population!r}: {values[name]:.4f}")
    best = (max if metric.higher_is_better else min)(values, key=values.__getitem__)
    return best, scores[best]


def fit_candidate(name: str, candidate: Candidate, seed: int, matrix: pd.DataFrame, labels: Labels) -> Any:
    """Fit a candidate on these rows.

    Raises:
        TrainingError: the estimator raised; its message is quoted.
    """
    try:
        return candidate(seed).fit(matrix, labels)
    except Exception as error:  # whatever the estimator raises
        said = (str(error).splitlines() or [""])[0]
        raise TrainingError(f"candidate {name!r} cannot be fitted: {type(error).__name__}: {said}") from error
