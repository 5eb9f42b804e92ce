"""Metrics of a multi-class task: labels are codes of c classes, (n,); scores are probabilities, (n, c)."""

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from scoring.errors import LabelsError
from scoring.evaluation.binary import rank_correlation, roc_auc
from scoring.evaluation.task_metrics import (
    FEWEST_OF_A_CLASS,
    Bools,
    Floats,
    Integers,
    Labels,
    Metric,
    OfWeights,
    Scored,
    TaskMetrics,
    by_name,
    calibration_over_bins,
    mean_of,
)

TOP = 3
"""Of top-3 accuracy; with three classes or fewer it is 1."""


def judged_classes(labels: Integers, classes: int, entities: Integers | None = None) -> Integers:
    """Codes of the classes with at least 20 entities of the class and 20 of others: ROC AUC judges these one by one.

    Args:
        entities: int64 (n,), each row's entity; None if each row is another's.
    """
    whose = np.arange(len(labels)) if entities is None else entities
    return np.array(
        [
            code
            for code in range(classes)
            if min(len(np.unique(whose[labels == code])), len(np.unique(whose[labels != code]))) >= FEWEST_OF_A_CLASS
        ],
        dtype=np.int64,
    )


def macro_roc_auc(labels: Integers, probabilities: Floats) -> OfWeights:
    """Mean over classes of the ROC AUC of a class against the rest (Provost & Domingos, 2000).

    Classes with fewer than 20 rows are pooled to one, whose probability is the sum of theirs; so a rare class neither
    disappears nor dominates the mean by chance. If none has 20 rows, every class that is present counts. Of the
    weights, a class without any is left out of the mean. Equals scikit-learn's if every class has 20 rows.

    Raises:
        LabelsError: of the weights, only one class has any.
    """
    count = probabilities.shape[1]
    judged = judged_classes(labels, count)
    rare = np.setdiff1d(np.arange(count), judged)
    groups = [np.array([code]) for code in (judged if len(judged) else np.unique(labels))]
    pooled = np.isin(labels, rare).sum()
    if len(judged) and pooled >= FEWEST_OF_A_CLASS:
        groups.append(rare)
    members = [np.isin(labels, group) for group in groups]
    values = [
        roc_auc(positive, probabilities[:, group].sum(axis=1)) for group, positive in zip(groups, members, strict=True)
    ]

    def value(weights: Floats) -> float:
        total = weights.sum()
        found = [
            auc(weights) for auc, positive in zip(values, members, strict=True) if 0 < weights[positive].sum() < total
        ]
        if not found:
            raise LabelsError("ROC AUC is not defined on rows of one class")
        return float(np.mean(found))

    return value


def _log_loss(labels: Integers, probabilities: Floats) -> OfWeights:
    """Mean −log of the label's probability, which is clipped to machine precision as in scikit-learn."""
    least = np.finfo(np.float64).eps
    return mean_of(-np.log(np.clip(_of_label(labels, probabilities), least, 1 - least)))


def _of_label(labels: Integers, probabilities: Floats) -> Floats:
    of_label: Floats = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return of_label


def _within_top(labels: Integers, probabilities: Floats, top: int) -> Bools:
    """Which labels, (n,), are among the `top` classes; of equal probabilities the class that is first in order wins."""
    of_label = _of_label(labels, probabilities)[:, None]
    first = np.arange(probabilities.shape[1]) < labels[:, None]
    ahead = (probabilities > of_label) | ((probabilities == of_label) & first)
    within: Bools = ahead.sum(axis=1) < top
    return within


def _top_class(labels: Integers, probabilities: Floats) -> tuple[Bools, Floats]:
    """Whether the most probable class is right, and its probability; (n,) each (Guo et al., 2017)."""
    return _within_top(labels, probabilities, 1), probabilities.max(axis=1)


def _check(labels: Labels, classes: Sequence[str]) -> None:
    if labels.dtype != np.int64:
        raise LabelsError(f"labels of a multi-class task are int64 codes of the classes, not {labels.dtype}")
    if not len(labels):
        raise LabelsError("there are no rows")
    if not 0 <= labels.min() <= labels.max() < len(classes):
        raise LabelsError(
            f"codes of {len(classes)} classes are 0 to {len(classes) - 1}, not {labels.min()} to {labels.max()}"
        )
    if len(np.unique(labels)) < 2:
        raise LabelsError("all rows have the same class; a multi-class task needs rows of at least two")


def _too_few(labels: Integers, entities: Integers | None, classes: Sequence[str]) -> str:
    if len(judged_classes(labels, len(classes), entities)) >= 2:
        return ""
    whose = np.arange(len(labels)) if entities is None else entities
    said = ", ".join(f"{len(np.unique(whose[labels == code]))} {name}" for code, name in enumerate(classes))
    return f"{said}; at least {FEWEST_OF_A_CLASS} of each of two classes are needed"


def _changed(before: Scored, now: Scored, scale: float) -> Bools:
    del scale  # of a probability is 1
    changed: Bools = before.scores.argmax(axis=1) != now.scores.argmax(axis=1)
    return changed


def _mean_rank_correlation(one: Floats, other: Floats) -> float:
    """Mean over the classes."""
    return float(np.mean([rank_correlation(*columns) for columns in zip(one.T, other.T, strict=True)]))


MULTICLASS = TaskMetrics(
    kind="multiclass",
    metrics=MappingProxyType(
        by_name(
            Metric("log_loss", "log loss", _log_loss, higher_is_better=False),
            Metric("accuracy", "accuracy", lambda y, p: mean_of(_within_top(y, p, 1)), higher_is_better=True),
            Metric(
                "top_3_accuracy", "top-3 accuracy", lambda y, p: mean_of(_within_top(y, p, TOP)), higher_is_better=True
            ),
            Metric("macro_roc_auc", "macro ROC AUC", macro_roc_auc, higher_is_better=True),
        )
    ),
    levels=MappingProxyType(
        by_name(
            Metric(
                "mean_top_probability",
                "mean top probability",
                lambda _, p: mean_of(p.max(axis=1)),
                higher_is_better=None,
            ),
            Metric(
                "majority_rate",
                "rate of the most frequent class",
                lambda y, _: mean_of(y == np.bincount(y).argmax()),
                higher_is_better=None,
            ),
        )
    ),
    calibration=Metric(
        "calibration_error",
        "calibration error of the top class",
        lambda y, p: calibration_over_bins(*_top_class(y, p)),
        higher_is_better=False,
        corrected=True,
    ),
    calibrated=_top_class,
    headline="log_loss",
    fewest=FEWEST_OF_A_CLASS,
    check=_check,
    too_few=_too_few,
    changed_decisions=_changed,
    scale_of=lambda _: 1.0,
    moves=lambda before, now: np.abs(now - before).sum(axis=1) / 2,
    rank_correlation=_mean_rank_correlation,
)
