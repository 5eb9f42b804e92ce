"""Describes the model's inputs by the training rows, and resolves rows to what the model takes."""

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
from contract.model_contract import QUANTILES
from training.data.dataset import LabelledRows
from training.errors import DatasetError


def feature_inputs(schema: FeatureSchema, training: RawFeatures, test: RawFeatures) -> tuple[FeatureInput, ...]:
    """Describe every model input by the training rows, and count it on the test rows.

    Live values are held against the counts, and live scores against those of the test rows: no model has seen these,
    as it has not seen a live row. Scores of the rows that it was fitted on are further apart than any live ones.

    The default is the feature repository's if it names one, else the training median: the value that a
    row without any information is least wrong with.

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


def model_input(inputs: tuple[FeatureInput, ...], schema: FeatureSchema, raw: RawFeatures) -> pd.DataFrame:
    """Resolve raw values as serving does: float32 columns named and ordered by the contract."""
    resolved = Resolver(inputs, schema.views).resolve(raw, as_of=float("nan"))
    return pd.DataFrame(resolved.matrix, columns=list(resolved.names))


def fingerprint(schema: FeatureSchema, *splits: LabelledRows) -> str:
    """sha256 of what the model was fitted on: feature names, and ids, cut-offs, values and labels of every row."""
    digest = hashlib.sha256(" ".join(f.name for f in schema.features).encode())
    for rows in splits:
        digest.update(rows.fingerprint.encode())
    return digest.hexdigest()
