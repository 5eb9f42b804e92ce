"""Describes the model's inputs by the training rows, and resolves raw rows to model input."""

import hashlib

import numpy as np
import pandas as pd

from contract import (
    FeatureInput,
    FeatureSchema,
    RawFeatures,
    Resolver,
    TrainingDistribution,
)
from contract.histogram import Histogram
from contract.inputs import QUANTILES
from training.data.dataset import LabelledRows
from training.errors import DatasetError


def describe_inputs(schema: FeatureSchema, training: RawFeatures, test: RawFeatures) -> tuple[FeatureInput, ...]:
    """Describe every model input: default, quantiles of the training rows, histogram of the test rows.

    Live values and scores are compared with the test rows, which the model has not seen either. Scores of rows that it
    was fitted on are more spread than live ones.

    The default is the feature repository's, else the training median.

    Raises:
        DatasetError: a feature has no value in any training row.
    """
    inputs = []
    for column, spec in enumerate(schema.features):
        values = training.values[:, column]
        present = values[np.isfinite(values)]
        if not len(present):
            raise DatasetError(f"feature {spec.name!r} has no value in any training row")
        quantiles = np.quantile(present, QUANTILES)
        named = spec.default is not None
        inputs.append(
            FeatureInput.model_validate(
                {
                    **spec.model_dump(),
                    "default": spec.default if named else float(np.float32(quantiles[QUANTILES.index(0.5)])),
                    "default_from": "feature_repo" if named else "training_median",
                    "distribution": TrainingDistribution(
                        quantiles=tuple(float(q) for q in quantiles),
                        null_rate=float(1 - len(present) / len(values)),
                        histogram=Histogram.of(test.values[:, column]),
                    ),
                }
            )
        )
    return tuple(inputs)


def resolve_inputs(inputs: tuple[FeatureInput, ...], schema: FeatureSchema, raw: RawFeatures) -> pd.DataFrame:
    """Resolve raw values as in serving: float32 (n, k), columns named and ordered as in the contract."""
    resolved = Resolver(inputs, schema.views).resolve(raw, as_of=float("nan"))
    return pd.DataFrame(resolved.matrix, columns=list(resolved.names))


def fingerprint(schema: FeatureSchema, *splits: LabelledRows) -> str:
    """sha256 of the rows that the model was fitted on: feature names, ids, request times, values and labels."""
    digest = hashlib.sha256(" ".join(f.name for f in schema.features).encode())
    for rows in splits:
        digest.update(rows.fingerprint.encode())
    return digest.hexdigest()
