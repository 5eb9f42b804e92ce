"""A contract over numbers and categories, some of whose nulls reach the model, and rows of it."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract import (
    CategoryDistribution,
    EntityKey,
    FeatureInput,
    FeatureSchema,
    FeatureSpec,
    ModelContract,
    SourceView,
    TrainingDistribution,
)
from contract.inputs import QUANTILES
from contract.tasks import TaskKind
from contract.values.category_counts import CategoryCounts
from contract.values.vocabulary import Category
from tests.models.fakes import contract_of

PLAN, AGE, SPEND, REGION, VISITS, STORE = (
    f"household__{name}" for name in ("plan", "age", "spend", "region", "visits", "store")
)
"""The inputs in the model's order. Nulls of age and region reach the model."""
NAMES = [PLAN, AGE, SPEND, REGION, VISITS, STORE]
NUMBERS, CATEGORIES = [AGE, SPEND, VISITS], [PLAN, REGION, STORE]

VOCABULARIES: dict[str, tuple[Category, ...]] = {
    PLAN: ("basic", "gold", "plus"),
    REGION: tuple(f"region {letter}" for letter in "abcdefghi"),
    STORE: (3, 7, 11, 400),
}


def mixed_inputs(**changed: dict[str, Any]) -> tuple[FeatureInput, ...]:
    """The inputs; `changed` is the part of a name after its view → members."""
    made = []
    for name in NAMES:
        values = VOCABULARIES.get(name)
        keep = name in (AGE, REGION)
        spec = FeatureSpec(
            name=name,
            dtype="float32" if values is None else "int64" if name == STORE else "string",
            kind="numeric" if values is None else "categorical",
            view="household",
            sources=("household",),
            on_missing="keep" if keep else "use_default",
        )
        described: dict[str, Any] = {"default": 1.0, "default_from": "training_median"}
        described["distribution"] = TrainingDistribution(quantiles=(1.0,) * len(QUANTILES), null_rate=0.0)
        if values is not None:
            counts = CategoryCounts(counts=(1,) * len(values), unseen=0, missing=0)
            described = {
                "default": values[0],
                "default_from": "training_mode",
                "vocabulary": values,
                "distribution": CategoryDistribution(training=(1,) * len(values), null_rate=0.0, histogram=counts),
            }
        if keep:
            described |= {"default": None, "default_from": "null"}
        described |= changed.get(name.removeprefix("household__"), {})
        made.append(FeatureInput.model_validate({**spec.model_dump(), **described}))
    return tuple(made)


def mixed_contract(kind: TaskKind = "binary", **changed: dict[str, Any]) -> ModelContract:
    """A contract with these inputs and the task of `contract_of(kind)`."""
    inputs = mixed_inputs(**changed)
    schema = FeatureSchema(
        project="households",
        feature_service="households_v1",
        entity_keys=(EntityKey(join_key="household_id", dtype="int64"),),
        views=(SourceView(name="household", ttl_seconds=None),),
        features=tuple(
            FeatureSpec.model_validate({name: getattr(each, name) for name in FeatureSpec.model_fields})
            for each in inputs
        ),
        request_inputs=(),
        transformations={},
    )
    return contract_of(kind).model_copy(update={"feature_schema": schema, "inputs": inputs, "entity": "household"})


def mixed_rows(kind: TaskKind, seed: int, rows: int = 500) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Rows as the model's matrix has them, float32 with codes and nulls, and their labels."""
    random = np.random.default_rng(seed)
    columns: dict[str, NDArray[Any]] = {
        name: random.integers(0, len(values), rows) for name, values in VOCABULARIES.items()
    }
    columns |= {AGE: random.exponential(30, rows), SPEND: random.normal(10, 4, rows)}
    columns |= {VISITS: random.integers(0, 40, rows)}
    matrix = pd.DataFrame(columns, dtype=np.float32)[NAMES]
    matrix.loc[random.random(rows) < 0.05, REGION] = -1
    value = 3 * matrix[PLAN] + 4 * (matrix[REGION] > 4) - matrix[AGE] / 10 + matrix[STORE] + random.normal(0, 1, rows)
    matrix.loc[random.random(rows) < 0.2, AGE] = np.nan
    matrix.loc[random.random(rows) < 0.2, REGION] = -2
    if kind == "regression":
        return matrix, value.to_numpy(np.float64)
    return matrix, np.digitize(value, np.quantile(value, [0.5] if kind == "binary" else [0.4, 0.7]))
