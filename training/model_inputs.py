"""Describes the model's inputs by the training rows, and resolves raw rows to model input."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract import (
    CategoryDistribution,
    FeatureInput,
    FeatureSchema,
    FeatureSpec,
    RawFeatures,
    Resolver,
    TrainingDistribution,
    Vocabulary,
)
from contract.feature_schema import array_widths
from contract.inputs import QUANTILES
from contract.keys import EXACT_IN_JSON
from contract.values.category_counts import CategoryCounts
from contract.values.histogram import Histogram
from contract.values.vocabulary import MISSING_TEXT, MOST_CATEGORIES, UNSEEN_TEXT, Category
from scoring.errors import FeatureColumnError
from scoring.feature_columns import categories_of, numbers_of
from training.data.dataset import LabelledRows
from training.errors import DatasetError


def describe_inputs(schema: FeatureSchema, training: LabelledRows, test: LabelledRows) -> tuple[FeatureInput, ...]:
    """Describe every model input: default, vocabulary, distribution of the training rows, histogram of the test rows.

    Live values and scores are compared with the test rows, which the model has not seen either. Scores of rows that it
    was fitted on are more spread than live ones.

    The default is the feature repository's, else the null if the input keeps it, else the training rows' median or most
    frequent value.

    Raises:
        DatasetError: a feature has no value in any training row, values of another type than it declares, or too many
            values for a category.
    """
    try:
        widths = array_widths(schema.features)
        return tuple(_described(spec, training, test, widths.get(spec.reference)) for spec in schema.features)
    except FeatureColumnError as error:
        raise DatasetError(str(error)) from None


def _described(spec: FeatureSpec, training: LabelledRows, test: LabelledRows, width: int | None) -> FeatureInput:
    of_kind = _category(spec, training, test) if spec.kind == "categorical" else _number(spec, training, test, width)
    described = {**spec.model_dump(), **of_kind}
    if spec.default is not None:
        described |= {"default": spec.default, "default_from": "feature_repo"}
    elif spec.on_missing == "keep":
        described |= {"default": None, "default_from": "null"}
    return FeatureInput.model_validate(described)


def _number(spec: FeatureSpec, training: LabelledRows, test: LabelledRows, width: int | None) -> dict[str, Any]:
    values, tested = (
        rows.as_of - found if spec.kind == "age" else found
        for rows in (training, test)
        for found in (numbers_of(rows.columns[spec.reference], spec, width),)
    )
    present = values[np.isfinite(values)]
    if not len(present):
        raise DatasetError(f"feature {spec.name!r} has no value in any training row")
    quantiles = np.quantile(present, QUANTILES)
    return {
        "default": float(np.float32(quantiles[QUANTILES.index(0.5)])),
        "default_from": "training_median",
        "distribution": TrainingDistribution(
            quantiles=tuple(float(q) for q in quantiles),
            null_rate=float(1 - len(present) / len(values)),
            histogram=Histogram.of(tested),
        ),
    }


def _category(spec: FeatureSpec, training: LabelledRows, test: LabelledRows) -> dict[str, Any]:
    values, tested = (categories_of(rows.columns[spec.reference], spec) for rows in (training, test))
    counted: Counter[Category] = Counter(value for value in values if value is not None)
    if not counted:
        raise DatasetError(f"feature {spec.name!r} has no value in any training row")
    if len(counted) > MOST_CATEGORIES:
        raise DatasetError(
            f"feature {spec.name!r} has {len(counted):,} different values in the training rows; a category has at most "
            f"{MOST_CATEGORIES:,}: group them in an on-demand view, or leave the feature out if it is an id"
        )
    if any(abs(value) > EXACT_IN_JSON for value in counted if isinstance(value, int)):
        raise DatasetError(
            f"feature {spec.name!r} has a value beyond 2^53, which would be rounded: make text of it, a String feature"
        )
    if reserved := {UNSEEN_TEXT, MISSING_TEXT}.intersection(map(str, counted)):
        raise DatasetError(
            f"feature {spec.name!r} has the value {min(reserved)!r}, which has a meaning of its own here"
        )
    if spec.default is not None:
        counted.setdefault(spec.default if isinstance(spec.default, str) else int(spec.default), 0)
    vocabulary: list[Any] = sorted(counted)  # of one type
    return {
        "vocabulary": vocabulary,
        "default": max(vocabulary, key=lambda value: counted[value]),
        "default_from": "training_mode",
        "distribution": CategoryDistribution(
            training=tuple(counted[value] for value in vocabulary),
            null_rate=values.count(None) / len(values),
            histogram=CategoryCounts.of(Vocabulary(vocabulary).codes(tested), len(vocabulary)),
        ),
    }


def resolve_inputs(
    inputs: Sequence[FeatureInput],
    schema: FeatureSchema,
    raw: RawFeatures,
    as_of: float | NDArray[np.float64] = float("nan"),
) -> pd.DataFrame:
    """Resolve raw values as in serving: float32 (n, k), named and ordered as in the contract, categories as codes.

    Args:
        as_of: request times in unix seconds, () or (n,); only inputs that are ages need them.
    """
    resolved = Resolver(inputs, schema.views).resolve(raw, as_of)
    return pd.DataFrame(resolved.matrix, columns=list(resolved.names))


def fingerprint(inputs: Sequence[FeatureInput], *splits: LabelledRows) -> str:
    """sha256 of the rows that the model was fitted on: feature names, ids, request times, values and labels."""
    digest = hashlib.sha256(" ".join(f.name for f in inputs).encode())
    for given in inputs:
        if given.vocabulary is not None:
            digest.update(repr(given.vocabulary).encode())
    for rows in splits:
        digest.update(rows.fingerprint(inputs).encode())
    return digest.hexdigest()
