"""Reads the labelled rows of a use case, as every model of it is fitted, chosen and judged."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from artefacts.addresses import Artefacts
from contract import FeatureInput, FeatureSchema
from contract.values.vocabulary import Category
from scoring.evaluation import Floats, Labels
from training.data.dataset import TrainingData
from training.data.feature_service import built_from
from training.fit import Split, check_labels
from training.model_inputs import describe_inputs, resolve_inputs
from training.row_splits.split_rows import REQUESTED_AT, SplitRows
from training.row_splits.table_splits import LabelTable, labelled_sha256
from training.settings import TrainingSettings
from training.tracking.test_rows import LABEL
from training.use_case import UseCase
from training.use_case_checks import check_before_reading

_LOG = logging.getLogger(__name__)

SPLIT = "split"
"""Column of `rows_of`: `training`, `validation` or `test`."""


@dataclass(frozen=True)
class Splits:
    """The rows of a use case, and what a contract says of them.

    inputs: of the model, in its order.
    labelled: the rows before their features were looked up.
    built: what the rows were made of: `rows_sha256`, else see `training.data.feature_service.made_of`.
    data: where the rows were read.
    """

    data: TrainingData
    inputs: tuple[FeatureInput, ...]
    labelled: SplitRows
    training: Split
    validation: Split
    test: Split
    built: str

    @property
    def schema(self) -> FeatureSchema:
        """Of the feature service."""
        return self.data.schema

    @property
    def by_name(self) -> Mapping[str, Split]:
        """The three splits."""
        return {"training": self.training, "validation": self.validation, "test": self.test}

    @cached_property
    def fitted_on(self) -> tuple[pd.DataFrame, Labels]:
        """Inputs, categories as codes, and labels of the training and validation rows, on which the chosen model is
        fitted.
        """
        matrix = pd.concat([self.training.matrix, self.validation.matrix], ignore_index=True)
        return matrix, np.concatenate([self.training.labels, self.validation.labels])

    @property
    def test_times(self) -> "pd.Series[Any]":
        """Request times of the test rows."""
        return self.test.rows.entities[REQUESTED_AT]

    def test_ages(self) -> Mapping[str, Floats]:
        """View → age in hours of its row at the request time of each test row."""
        return self.data.view_ages(self.test.rows.entities)


def read_splits(artefacts: Artefacts, case: UseCase, settings: TrainingSettings, fits: bool = True) -> Splits:
    """Read the labelled rows and their features by the point-in-time join; resolve the model's inputs as in serving.

    Args:
        fits: candidates of the use case are fitted on them.

    Raises:
        UseCaseError: the use case contradicts itself or the feature registry; raised before a row is read.
        DatasetError: the features give no training set.
    """
    _LOG.info("opening the feature store")
    data = TrainingData(artefacts, settings.feature_service)
    # Known before the rows are read, so that others that come meanwhile count as new data.
    filled = built_from(artefacts) or data.filled
    check_before_reading(case, data.schema, settings, fits)
    labels = case.labels(os.environ)
    built = rows_sha256(artefacts, labels, settings) or filled
    labelled = case.splits.read(labels, settings, settings.seed)
    read = {}
    for split, parts in labelled.by_name.items():
        _LOG.info(f"point-in-time join of the {split} rows")
        read[split] = data.rows(parts, case.task)
    counted = ", ".join(f"{split} {_spanned(rows.entities[REQUESTED_AT])}" for split, rows in read.items())
    _LOG.info(f"rows: {counted}")
    inputs = describe_inputs(data.schema, read["training"], read["test"])
    splits = {}
    for split, rows in read.items():
        splits[split] = Split.of(
            rows, resolve_inputs(inputs, data.schema, rows.raw(inputs), rows.as_of), inputs, case.populations
        )
        check_labels(split, splits[split], case.task)
    return Splits(data=data, inputs=inputs, labelled=labelled, built=built, **splits)


def rows_sha256(artefacts: Artefacts, labels: Any, settings: TrainingSettings) -> str:
    """sha256 of what is learned from: a table's labelled rows, and the build of features.

    Args:
        labels: of the use case.

    Returns:
        Empty if there is neither: then the features are those that others fill in.
    """
    built = built_from(artefacts)
    return labelled_sha256(labels, settings.label, built) if isinstance(labels, LabelTable) else built


def _spanned(times: "pd.Series[Any]") -> str:
    first, last = times.min().date(), times.max().date()
    return f"{len(times):,} of {first}" if first == last else f"{len(times):,} of {first} to {last}"


def rows_of(splits: Splits) -> pd.DataFrame:
    """All rows as one table, for training elsewhere.

    Returns:
        `split`, the join keys, `event_timestamp`, `label` (as the task's metrics take it), and the model's inputs,
        float32, in its order; categories as codes, see `vocabularies_of`.
    """
    parts = []
    for name, split in splits.by_name.items():
        before = split.rows.entities.assign(**{LABEL: split.labels})
        before.insert(0, SPLIT, name)
        parts.append(pd.concat([before.reset_index(drop=True), split.matrix], axis=1))
    return pd.concat(parts, ignore_index=True)


def vocabularies_of(splits: Splits) -> dict[str, tuple[Category, ...]]:
    """Input → the values of a category by code, for those who train elsewhere."""
    return {given.name: tuple(given.vocabulary) for given in splits.inputs if given.vocabulary is not None}
