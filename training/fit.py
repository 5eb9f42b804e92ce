"""Fits the candidates and chooses the one with the best validation score."""

import logging
from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from contract import DecisionThreshold
from scoring.evaluation import FEWEST_OF_A_CLASS, youden_threshold
from training.data.dataset import LabelledRows
from training.errors import DatasetError, TrainingError
from training.pipeline import CANDIDATES
from training.settings import TrainingSettings

_LOG = logging.getLogger(__name__)

CLASS_NAMES = ("retained", "churned")


THRESHOLD_RULE = (
    "maximises true-positive minus false-positive rate (Youden's J) over all customers at the validation cut-off"
)


@dataclass(frozen=True)
class Split:
    """One split: labelled rows, and their model input resolved as in serving."""

    rows: LabelledRows
    matrix: pd.DataFrame

    @property
    def populations(self) -> dict[str, NDArray[np.bool_]]:
        """Population → mask (n,): all customers, and the active ones (the headline)."""
        return {"all": np.ones(len(self.matrix), dtype=bool), "active": self.rows.active}

    def score(self, pipeline: Pipeline) -> NDArray[np.float64]:
        """Churn probability of each row, (n,)."""
        probability: NDArray[np.float64] = pipeline.predict_proba(self.matrix)[:, 1].astype(np.float64)
        return probability


def check_classes(split: str, rows: LabelledRows) -> None:
    """Refuse a split with too few customers of a class for a model or an interval.

    Raises:
        DatasetError: names split, population and both counts.
    """
    for population, chosen in (("all", slice(None)), ("active", rows.active)):
        churned = rows.churned[chosen]
        if min(churned.sum(), (~churned).sum()) < FEWEST_OF_A_CLASS:
            raise DatasetError(
                f"{split} split, {population} customers: {churned.sum()} churned and {(~churned).sum()} stayed; "
                f"at least {FEWEST_OF_A_CLASS} of each are needed"
            )


def choose_candidate(training: Split, validation: Split, settings: TrainingSettings) -> tuple[str, DecisionThreshold]:
    """Choose the candidate with the best headline ROC AUC at the validation cut-off, and its threshold there."""
    active, churned = validation.rows.active, validation.rows.churned
    scores, aucs = {}, {}
    for name in CANDIDATES:
        _LOG.info(f"fitting candidate {name}")
        fitted = fit_candidate(name, settings, training.matrix, training.rows.churned)
        scores[name] = validation.score(fitted)
        aucs[name] = float(roc_auc_score(churned[active], scores[name][active]))
        mlflow.log_metric(f"validation_active_roc_auc_{name}", aucs[name])
        _LOG.info(f"candidate {name}: validation ROC AUC of active customers {aucs[name]:.4f}")
    best = max(aucs, key=aucs.__getitem__)
    return best, DecisionThreshold(value=round(youden_threshold(churned, scores[best]), 6), rule=THRESHOLD_RULE)


def fit_candidate(name: str, settings: TrainingSettings, matrix: pd.DataFrame, labels: NDArray[np.bool_]) -> Pipeline:
    """Fit a candidate on these rows.

    Raises:
        TrainingError: the estimator raised; its message is quoted.
    """
    try:
        return CANDIDATES[name](settings.seed).fit(matrix, labels)
    except Exception as error:  # whatever the estimator raises
        said = (str(error).splitlines() or [""])[0]
        raise TrainingError(f"candidate {name!r} cannot be fitted: {type(error).__name__}: {said}") from error
