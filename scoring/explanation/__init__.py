"""Explains predictions: each input's exact contribution to the model's own score."""

from scoring.explanation.additive_scores import Space
from scoring.explanation.explainer import Explainer, Explanation

__all__ = ["Explainer", "Explanation", "Space"]
