"""The members that `POST /explain` adds to a prediction."""

from typing import Any

import numpy as np

from contract import FeatureInput, ModelContract, MulticlassTask
from contract.resolved import STATE_WORDS
from contract.values.vocabulary import MISSING_CODE
from scoring.explanation import Explanation
from scoring.models.imported_model import ImportedModel
from service.errors import NotExplainableError
from service.prediction.predictor import Lookup


def names_space(contract: ModelContract) -> bool:
    """True if explanations say what their contributions add up to. Under version 1 it is always the log-odds."""
    return contract.written.schema_version > 1


def explained_classes(lookup: Lookup, contract: ModelContract) -> list[int] | None:
    """Position of the answered class, which is the one to explain; None unless the task has several."""
    if not isinstance(contract.task, MulticlassTask):
        return None
    return [contract.task.classes.index(lookup.prediction.outputs[1])]


def explanation_members(
    lookup: Lookup, explanation: Explanation, model: ImportedModel, served: ModelContract
) -> dict[str, Any]:
    """Base value, contributions, and what they add up to.

    Args:
        lookup: one row that `model` has scored and `explanation` explains.
        served: the champion's contract, which the answer's members come from.

    Raises:
        NotExplainableError: they add up to no log-odds, and the answer cannot say so.
    """
    resolved = lookup.resolved
    contributions = []
    for column, feature in enumerate(model.contract.inputs):
        state = STATE_WORDS.get(int(resolved.states[0, column]), "fresh")
        contributions.append(
            {
                "feature": feature.name,
                "view": feature.view,
                "contribution": float(explanation.contributions[0, column]),
                "value": _seen(float(resolved.matrix[0, column]), feature),
                "age_seconds": None if state == "overridden" else float(resolved.ages[0, column]),
                "state": state,
            }
        )
    members: dict[str, Any] = {"base_value": explanation.base_value, "contributions": contributions}
    if not names_space(served):
        if explanation.space != "log-odds":
            raise NotExplainableError(
                f"contributions to the {explanation.space} need a contract of version 2; train the model again",
                model=model.identity,
            )
        return members
    members["space"] = explanation.space
    if isinstance(served.task, MulticlassTask):
        members["explained_class"] = lookup.prediction.outputs[1]
    return members


def _seen(value: float, feature: FeatureInput) -> float | str | None:
    """What the model saw of a feature: a category's text, null for a kept null."""
    if feature.codes is None:
        return value  # JSON has null for NaN
    return None if value == MISSING_CODE else str(feature.codes.texts(np.array([value]))[0])
