import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score, top_k_accuracy_score

from scoring.evaluation import Floats, Integers, LabelsError, Scored, evaluate, judged_classes, metrics_of

MULTICLASS = metrics_of("multiclass")
METRICS = {**MULTICLASS.metrics, MULTICLASS.calibration.name: MULTICLASS.calibration, **MULTICLASS.levels}
CLASSES = ("0", "1", "2-3", "4+")
FOUR_LABELS: Integers = np.array([0, 1, 2, 3])
FOUR_SCORES: Floats = np.array(
    [
        [0.7, 0.1, 0.1, 0.1],  # right
        [0.5, 0.3, 0.1, 0.1],  # second
        [0.4, 0.3, 0.2, 0.1],  # third
        [0.5, 0.2, 0.2, 0.1],  # last
    ]
)


def rows(n: int, seed: int, classes: int = 4) -> tuple[Integers, Floats]:
    """Labels drawn from the probabilities that are the scores."""
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.ones(classes), n)
    labels = (generator.uniform(size=(n, 1)) > scores.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    return labels.astype(np.int64), scores


def weights(n: int, seed: int) -> Floats:
    return np.random.default_rng(seed).integers(0, 4, n).astype(np.float64)


def test_metrics_equal_those_worked_out_by_hand() -> None:
    found = {name: metric(FOUR_LABELS, FOUR_SCORES) for name, metric in METRICS.items()}

    assert pytest.approx(-np.log([0.7, 0.3, 0.2, 0.1]).mean()) == found["log_loss"]
    assert 0.25 == found["accuracy"]
    assert 0.75 == found["top_3_accuracy"]
    assert pytest.approx((0.3 + 0.5 + 0.4 + 0.5) / 4) == found["calibration_error"]
    assert pytest.approx(2.1 / 4) == found["mean_top_probability"]
    assert 0.25 == found["majority_rate"]


def test_calibration_of_the_top_class_compares_its_probability_with_how_often_it_is_right() -> None:
    labels, scores = np.tile(FOUR_LABELS, 10), np.tile(FOUR_SCORES, (10, 1))

    points = np.array(MULTICLASS.calibration_points(labels, scores))

    assert pytest.approx([0.4, 0.4, 0.5, 0.7, 0.7]) == points[[0, 1, 4, 8, 9], 0]
    assert [0, 0, 1, 1] == points[[0, 5, 8, 9], 1].tolist()


def test_of_equal_probabilities_the_class_that_is_first_in_order_wins() -> None:
    tied = np.full((4, 4), 0.25)

    assert 0.25 == METRICS["accuracy"](FOUR_LABELS, tied)
    assert 0.75 == METRICS["top_3_accuracy"](FOUR_LABELS, tied)


@pytest.mark.parametrize("classes", [3, 5])
def test_metrics_equal_scikit_learns_whatever_the_weights(classes: int) -> None:
    labels, scores = rows(800, 1, classes)
    weight = weights(800, 2)
    known = np.arange(classes)

    def expected(name: str) -> float:
        if name == "log_loss":
            return float(log_loss(labels, scores, sample_weight=weight))
        if name == "accuracy":
            return float(accuracy_score(labels, scores.argmax(axis=1), sample_weight=weight))
        if name == "top_3_accuracy" and classes > 3:
            return float(top_k_accuracy_score(labels, scores, k=3, labels=known, sample_weight=weight))
        if name == "top_3_accuracy":
            return 1.0
        one_by_one = [roc_auc_score(labels == code, scores[:, code], sample_weight=weight) for code in known]
        return float(np.mean(one_by_one))

    for name, metric in MULTICLASS.metrics.items():
        assert pytest.approx(expected(name), rel=1e-12) == metric(labels, scores, weight)
    unweighted = roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert pytest.approx(unweighted, rel=1e-12) == METRICS["macro_roc_auc"](labels, scores)


def test_a_probability_of_zero_for_the_label_costs_as_much_as_in_scikit_learn() -> None:
    labels, scores = np.array([0, 1, 2]), np.eye(3)[[1, 1, 2]]

    assert pytest.approx(log_loss(labels, scores)) == METRICS["log_loss"](labels, scores)


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_counts_as_so_many_rows(name: str) -> None:
    labels, scores = rows(400, 3)
    weight = weights(400, 4)
    if name == "calibration_error":  # weights do not move the bins
        weight = np.full(400, 2.0)
    repeated = np.repeat(np.arange(400), weight.astype(int))

    assert pytest.approx(METRICS[name](labels[repeated], scores[repeated]), rel=1e-9) == METRICS[name](
        labels, scores, weight
    )


def test_classes_with_too_few_rows_are_pooled_to_one_for_the_macro_roc_auc() -> None:
    labels, scores = rows(600, 5)
    rare = np.flatnonzero(labels >= 2)
    kept = np.concatenate([np.flatnonzero(labels < 2), rare[:30]])
    kept = np.setdiff1d(kept, [row for code in (2, 3) for row in np.flatnonzero(labels == code)[15:]])
    labels, scores = labels[kept], scores[kept]

    pooled = [roc_auc_score(labels == code, scores[:, code]) for code in (0, 1)]
    pooled.append(roc_auc_score(labels >= 2, scores[:, 2:].sum(axis=1)))

    assert [0, 1] == judged_classes(labels, 4).tolist()
    assert pytest.approx(np.mean(pooled), rel=1e-12) == METRICS["macro_roc_auc"](labels, scores)


def test_a_class_without_rows_or_without_weight_is_left_out_of_the_macro_roc_auc() -> None:
    labels, scores = rows(600, 6)
    weight = np.where(labels == 3, 0.0, 1.0)
    kept = labels < 3

    expected = np.mean([roc_auc_score(labels[kept] == code, scores[kept, code]) for code in range(3)])

    assert pytest.approx(expected, rel=1e-12) == METRICS["macro_roc_auc"](labels, scores, weight)
    assert pytest.approx(expected, rel=1e-12) == METRICS["macro_roc_auc"](labels[kept], scores[kept])


def test_the_macro_roc_auc_of_one_class_is_refused() -> None:
    labels, scores = rows(100, 7)

    with pytest.raises(LabelsError, match="rows of one class"):
        METRICS["macro_roc_auc"](labels, scores, (labels == 1).astype(np.float64))


def test_every_metric_has_a_finite_interval_even_with_a_class_of_two_rows() -> None:
    labels, scores = rows(300, 8)
    kept = np.concatenate([np.flatnonzero(labels != 3), np.flatnonzero(labels == 3)[:2]])

    found = evaluate(labels[kept], scores[kept], METRICS, resamples=50, seed=1)

    for estimate in found.values():
        assert np.isfinite([estimate.value, estimate.low, estimate.high]).all()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array(["a", "b"]), "int64 codes of the classes, not <U1"),
        (np.array([0.0, 1.0]), "not float64"),
        (np.array([0, 4]), "codes of 4 classes are 0 to 3, not 0 to 4"),
        (np.array([-1, 2]), "not -1 to 2"),
        (np.array([2, 2]), "all rows have the same class"),
        (np.array([], dtype=np.int64), "there are no rows"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_name(labels: Integers, said: str) -> None:
    with pytest.raises(LabelsError, match=said):
        MULTICLASS.check(labels, CLASSES)


def test_rows_are_too_few_until_two_classes_have_twenty_entities() -> None:
    labels = np.repeat([0, 1, 2], [20, 20, 3])
    one_entity = np.where(labels == 1, 0, np.arange(43))

    assert "" == MULTICLASS.too_few(labels, None, CLASSES)
    assert "20 0, 1 1, 3 2-3, 0 4+; at least 20 of each of two classes are needed" == MULTICLASS.too_few(
        labels, one_entity, CLASSES
    )


def test_a_decision_changes_when_another_class_becomes_the_most_probable() -> None:
    before, now = np.array([[0.6, 0.4], [0.6, 0.4]]), np.array([[0.51, 0.49], [0.4, 0.6]])

    assert [False, True] == MULTICLASS.changed_decisions(Scored(before), Scored(now), 1.0).tolist()
    assert pytest.approx([0.09, 0.2]) == MULTICLASS.moves(before, now)
    assert pytest.approx(-1.0) == MULTICLASS.rank_correlation(now, 1 - now)
