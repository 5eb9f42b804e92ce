"""A challenger for `tests.models.fakes`' champion: another real model, with another contract."""

from dataclasses import replace
from pathlib import Path

from sklearn.pipeline import Pipeline

from contract import ModelContract
from scoring.models.imported_model import ImportedModel
from tests.models.fakes import DAYS_SINCE, ORDERS, small_contract, store_model, training_rows
from training.churn.candidates import logistic

NAMES = [ORDERS, DAYS_SINCE]
"""What the challenger takes: some of the champion's inputs, in another order."""


def challenger_contract(**changes: object) -> ModelContract:
    whole = small_contract()
    inputs = {feature.name: feature for feature in whole.inputs}
    chosen = tuple(inputs[name] for name in NAMES)
    return whole.model_copy(update={"inputs": chosen, "model_version": "8", **changes})


def challenger_pipeline() -> Pipeline:
    matrix, churned = training_rows(seed=11)
    return logistic(seed=1).fit(matrix[NAMES], churned)


def challenging_model(folder: Path, contract: ModelContract | None = None) -> ImportedModel:
    """It, as the import leaves it in `folder`, loaded."""
    stored = store_model(folder, contract or challenger_contract(), challenger_pipeline())
    return replace(stored.load(), role="challenger", tag="small_churn:v8")
