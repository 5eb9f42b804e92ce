"""What a stored scikit-learn pipeline may be made of, beyond skops' own list.

A skops file names the types that loading it will build. MLflow stores the list that it was given inside the
model, and whoever can write the model can extend it there; so training and serving check against this one.
"""

TRUSTED_TYPES = frozenset(
    {
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    }
)
