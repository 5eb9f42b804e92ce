"""Candidate models; scikit-learn's own classes, which ONNX can express and skops can store."""

from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer


def logistic(seed: int) -> Pipeline:
    """Yeo–Johnson transform, then L2-penalised logistic regression."""
    return Pipeline(
        [
            ("to_normal", PowerTransformer(method="yeo-johnson", standardize=True)),
            ("classifier", LogisticRegression(C=0.1, max_iter=2000, random_state=seed)),
        ]
    )


def histogram_boosting(seed: int) -> Pipeline:
    """Histogram gradient boosting, with small trees and a low learning rate against overfitting."""
    return Pipeline(
        [
            (
                "classifier",
                HistGradientBoostingClassifier(
                    learning_rate=0.05,
                    max_iter=150,
                    max_leaf_nodes=15,
                    min_samples_leaf=100,
                    l2_regularization=1.0,
                    early_stopping=False,
                    random_state=seed,
                ),
            )
        ]
    )


CANDIDATES = {"logistic": logistic, "histogram_boosting": histogram_boosting}
