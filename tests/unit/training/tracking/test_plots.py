import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from contract.tasks import TaskKind
from scoring.evaluation import Bools, Floats, lift_at
from training.tracking.plots import ScoredPopulation, figures

RANDOM = np.random.default_rng(1)
SCORES: Floats = RANDOM.uniform(0.01, 0.99, 300)
POSITIVE: Bools = RANDOM.uniform(size=300) < SCORES
BASELINE: Floats = SCORES + RANDOM.normal(0, 0.3, 300)
CODES = RANDOM.integers(0, 3, 300)
PROBABILITIES: Floats = RANDOM.dirichlet(np.ones(3), 300)
TARGET: Floats = RANDOM.gamma(2.0, 10.0, 300)
PREDICTION: Floats = TARGET + RANDOM.normal(0, 5, 300)

DRAWN: dict[TaskKind, ScoredPopulation] = {
    "binary": ScoredPopulation(
        "all", POSITIVE, SCORES, ("stayed", "left"), threshold=0.5, baseline=("one feature", BASELINE)
    ),
    "multiclass": ScoredPopulation("all", CODES, PROBABILITIES, ("none", "one", "more")),
    "regression": ScoredPopulation("all", TARGET, PREDICTION, target="spend in dollars"),
}


def lines(figure: Figure) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in figure.axes[0].lines}


def test_a_binary_model_and_its_baseline_are_drawn_as_calibration_roc_precision_lift_and_confusion() -> None:
    found = figures("binary", DRAWN["binary"])

    kinds = ("calibration", "roc", "precision_recall", "lift", "confusion")
    assert [f"plots/all_{kind}.png" for kind in kinds] == list(found)
    calibration, roc, precision_recall, lift = map(lines, list(found.values())[:4])
    observed, predicted = calibration_curve(POSITIVE, SCORES, n_bins=10, strategy="quantile")
    assert np.array_equal(np.column_stack([predicted, observed]), calibration["model"])
    shares = np.linspace(0.02, 1.0, 50)
    for name, score in (("model", SCORES), ("one feature", BASELINE)):
        assert np.array_equal(np.column_stack(roc_curve(POSITIVE, score)[:2]), roc[name])
        precision, recall, _ = precision_recall_curve(POSITIVE, score)
        assert np.array_equal(np.column_stack([recall, precision]), precision_recall[name])
        assert np.array_equal(
            np.column_stack([shares, [lift_at(POSITIVE, score, share) for share in shares]]), lift[name]
        )


def test_a_multiclass_model_is_drawn_as_confusion_and_calibration_of_its_top_class() -> None:
    confusion, calibration = figures("multiclass", DRAWN["multiclass"]).values()

    counts = confusion_matrix(CODES, PROBABILITIES.argmax(axis=1))
    axes = confusion.axes[0]
    assert counts.ravel().tolist() == [int(text.get_text().replace(",", "")) for text in axes.texts]
    assert ["none", "one", "more"] == [text.get_text() for text in axes.get_yticklabels()]
    shares = axes.images[0].get_array()
    assert shares is not None
    assert np.allclose(np.ones(3), shares.sum(axis=1))
    points = lines(calibration)["model"]
    assert (10, 2) == points.shape
    assert pytest.approx(PROBABILITIES.max(axis=1).mean()) == points[:, 0].mean()
    assert pytest.approx((PROBABILITIES.argmax(axis=1) == CODES).mean()) == points[:, 1].mean()


def test_a_class_that_no_row_has_is_an_empty_row_of_the_confusion() -> None:
    drawn = ScoredPopulation("all", CODES, np.column_stack([PROBABILITIES, np.zeros(300)]), ("a", "b", "c", "d"))

    shares = figures("multiclass", drawn)["plots/all_confusion.png"].axes[0].images[0].get_array()

    assert shares is not None
    assert [0, 0, 0, 0] == shares[3].tolist()


def test_a_regression_is_drawn_as_predicted_and_observed_by_decile_and_its_residuals() -> None:
    deciles, residuals = figures("regression", DRAWN["regression"]).values()

    points = lines(deciles)["model"]
    assert pytest.approx(PREDICTION.mean()) == points[:, 0].mean()
    assert pytest.approx(TARGET.mean()) == points[:, 1].mean()
    assert (np.diff(points[:, 0]) > 0).all()
    cells = residuals.axes[0].collections[0].get_array()
    assert cells is not None
    assert len(TARGET) == cells.sum()


@pytest.mark.parametrize("task", DRAWN)
def test_every_figure_can_be_saved(task: TaskKind) -> None:
    for figure in figures(task, DRAWN[task]).values():
        saved = io.BytesIO()
        figure.savefig(saved, format="png")
        assert saved.getvalue().startswith(b"\x89PNG")
