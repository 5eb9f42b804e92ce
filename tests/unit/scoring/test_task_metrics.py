import dataclasses

import numpy as np
import pytest

from contract.tasks import TaskKind
from scoring.evaluation import TASKS, LabelsError, Scored, metrics_of

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
BINARY = metrics_of("binary")


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_of_a_task_is_found_by_its_name_and_the_headline_is_one_of_them(kind: TaskKind) -> None:
    task = metrics_of(kind)
    every = [*task.metrics.items(), *task.levels.items(), (task.calibration.name, task.calibration)]

    assert kind == task.kind
    assert all(task.metric(name) is metric for name, metric in every)
    assert [name for name, _ in every] == [metric.name for _, metric in every]
    assert len(every) == len({metric.title for _, metric in every})
    assert task.metrics[task.headline].higher_is_better is not None
    assert task.headline in task.for_baseline
    assert task.calibration.corrected
    assert all(level.higher_is_better is None for level in task.levels.values())


def test_the_headlines_are_auc_log_loss_and_mean_absolute_error() -> None:
    found = {kind: (task.headline, task.metrics[task.headline].higher_is_better) for kind, task in TASKS.items()}

    assert {"binary": ("roc_auc", True), "multiclass": ("log_loss", False), "regression": ("mae", False)} == found


def test_only_rankings_of_a_binary_baseline_are_judged_and_every_metric_of_the_others() -> None:
    assert ["roc_auc", "average_precision", "lift_at_10pct"] == list(BINARY.for_baseline)
    for kind in ("multiclass", "regression"):
        assert metrics_of(kind).metrics == metrics_of(kind).for_baseline


def test_a_table_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        BINARY.headline = "brier"  # type: ignore[misc]
    with pytest.raises(TypeError):
        BINARY.metrics["brier"] = BINARY.calibration  # type: ignore[index]


def test_an_unknown_metric_is_named_with_those_there_are() -> None:
    with pytest.raises(LabelsError, match=r"a binary task has no metric 'mae'; it has roc_auc, .*base_rate"):
        BINARY.metric("mae")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array(["yes", "no"]), "labels of a binary task are booleans, not <U3"),
        (np.array([0, 1]), "not int64"),
        (np.array([True, True]), "no row has the class 'stayed'"),
        (np.array([False]), "no row has the class 'left'"),
    ],
)
def test_binary_labels_that_do_not_fit_are_refused_by_name(labels: np.ndarray, said: str) -> None:
    with pytest.raises(LabelsError, match=said):
        BINARY.check(labels, ("stayed", "left"))


def test_rows_are_too_few_until_both_classes_have_twenty_entities() -> None:
    labels = np.repeat([False, True], 20)
    pairs = np.where(labels, np.arange(40) // 2, np.arange(40))

    assert "" == BINARY.too_few(labels, None, ("stayed", "left"))
    assert "20 stayed and 10 left; at least 20 of each are needed" == BINARY.too_few(labels, pairs, ("stayed", "left"))


def test_a_decision_changes_when_the_score_crosses_each_models_own_threshold() -> None:
    before, now = Scored(np.array([0.4, 0.6, 0.5]), 0.5), Scored(np.array([0.4, 0.6, 0.5]), 0.6)

    assert [False, False, True] == BINARY.changed_decisions(before, now, 1.0).tolist()
    with pytest.raises(ValueError, match="decides by a threshold"):
        BINARY.changed_decisions(before, Scored(now.scores), 1.0)


def test_the_roc_auc_of_one_class_is_refused() -> None:
    with pytest.raises(LabelsError, match="rows of one class"):
        BINARY.metrics["roc_auc"](np.array([True, True]), np.array([0.1, 0.2]))
