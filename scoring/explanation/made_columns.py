"""Follows each input through a pipeline's transforms to the columns that are made of it."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from scoring.errors import ExplanationError
from scoring.models.pipeline_parts import chosen_columns


class Column(NamedTuple):
    """A column that is made of one input.

    input: the input's position in the contract.
    centred: a 0 means the mean of the training rows or, in an indicator column, a category that the row does not have.
    discrete: the column jumps as the input grows, so float64 and float32 arithmetic may land on different sides.
    """

    input: int
    centred: bool = False
    discrete: bool = False


Rule = Callable[[Any, Sequence[Column]], list[Column]]


def columns_after(step: Any, columns: Sequence[Column]) -> list[Column]:
    """The columns that a fitted transform makes of columns, in their order.

    Args:
        step: a transform, `"passthrough"` or `"drop"`.

    Raises:
        ExplanationError: the transform mixes columns, or is not known.
    """
    if step is None or isinstance(step, str):
        return [] if step == "drop" else list(columns)
    if not columns:
        return []  # scikit-learn does not fit a transform of no columns
    for kind, rule in _rules().items():
        if isinstance(step, kind):
            return rule(step, columns)
    raise ExplanationError(f"{type(step).__name__} is not known to map each input by itself")


@cache
def _rules() -> dict[type, Rule]:
    from sklearn import compose, feature_selection, impute, pipeline, preprocessing

    return {
        pipeline.Pipeline: _one_after_another,
        pipeline.FeatureUnion: _side_by_side,
        compose.ColumnTransformer: _by_parts,
        feature_selection.SelectorMixin: lambda step, columns: [columns[at] for at in step.get_support(indices=True)],
        impute.SimpleImputer: _imputed,
        impute.MissingIndicator: _indicators,
        preprocessing.Binarizer: lambda _, columns: _each(columns, discrete=True),
        preprocessing.FunctionTransformer: _by_function,
        preprocessing.KBinsDiscretizer: _binned,
        preprocessing.MaxAbsScaler: lambda _, columns: list(columns),  # a 0 stays a 0
        preprocessing.MinMaxScaler: lambda _, columns: _each(columns),
        preprocessing.OneHotEncoder: _one_hot,
        preprocessing.OrdinalEncoder: lambda _, columns: _each(columns, discrete=True),
        preprocessing.PowerTransformer: lambda step, columns: _each(columns, centred=step.standardize),
        preprocessing.QuantileTransformer: lambda _, columns: _each(columns),
        preprocessing.RobustScaler: lambda _, columns: _each(columns),
        preprocessing.SplineTransformer: _splines,
        preprocessing.StandardScaler: _standardised,
        preprocessing.TargetEncoder: _target_encoded,
    }


def _each(columns: Iterable[Column], centred: bool = False, discrete: bool = False) -> list[Column]:
    return [Column(column.input, centred, discrete or column.discrete) for column in columns]


def _repeated(columns: Sequence[Column], times: Sequence[int]) -> list[Column]:
    return [column for column, count in zip(columns, times, strict=True) for _ in range(count)]


def _standardised(step: Any, columns: Sequence[Column]) -> list[Column]:
    return _each(columns, centred=True) if step.with_mean else list(columns)


def _one_hot(step: Any, columns: Sequence[Column]) -> list[Column]:
    infrequent = getattr(step, "infrequent_categories_", None) or [None] * len(columns)
    dropped = [None] * len(columns) if step.drop_idx_ is None else step.drop_idx_
    counts = [
        len(categories) - (0 if rare is None else len(rare) - 1) - (0 if drop is None else 1)
        for categories, rare, drop in zip(step.categories_, infrequent, dropped, strict=True)
    ]
    return _repeated(_each(columns, centred=True, discrete=True), counts)


def _binned(step: Any, columns: Sequence[Column]) -> list[Column]:
    if step.encode == "ordinal":
        return _each(columns, discrete=True)
    return _repeated(_each(columns, centred=True, discrete=True), step.n_bins_)


def _splines(step: Any, columns: Sequence[Column]) -> list[Column]:
    return _repeated(_each(columns), [step.n_features_out_ // len(columns)] * len(columns))


def _target_encoded(step: Any, columns: Sequence[Column]) -> list[Column]:
    count = len(step.classes_) if step.target_type_ == "multiclass" else 1
    return _repeated(_each(columns, discrete=True), [count] * len(columns))


def _imputed(step: Any, columns: Sequence[Column]) -> list[Column]:
    import pandas as pd

    empty = np.zeros(len(columns), dtype=bool) if step.keep_empty_features else np.asarray(pd.isna(step.statistics_))
    kept = [column for column, dropped in zip(columns, empty, strict=True) if not dropped]
    if not pd.isna(step.missing_values):
        kept = _each(kept, discrete=True)  # a value in the middle of others is replaced
    return kept + (_indicators(step.indicator_, columns) if step.add_indicator else [])


def _indicators(step: Any, columns: Sequence[Column]) -> list[Column]:
    return _each((columns[at] for at in step.features_), centred=True, discrete=True)


def _by_function(step: Any, columns: Sequence[Column]) -> list[Column]:
    if step.func is None:
        return list(columns)
    if isinstance(step.func, np.ufunc) and step.func.nin == step.func.nout == 1:  # element by element
        return _each(columns, discrete=True)
    name = getattr(step.func, "__name__", type(step.func).__name__)
    raise ExplanationError(f"FunctionTransformer's {name} is not known to map each input by itself")


def _one_after_another(step: Any, columns: Sequence[Column]) -> list[Column]:
    for _, inner in step.steps:
        columns = columns_after(inner, columns)
    return list(columns)


def _side_by_side(step: Any, columns: Sequence[Column]) -> list[Column]:
    return [column for _, part in step.transformer_list for column in columns_after(part, columns)]


def _by_parts(step: Any, columns: Sequence[Column]) -> list[Column]:
    made: list[Column] = []
    for name, part, chosen in step.transformers_:
        found = columns_after(part, [columns[at] for at in chosen_columns(step, chosen)])
        place = step.output_indices_[name]
        if (place.stop - place.start, place.start if found else 0) != (len(found), len(made) if found else 0):
            raise ExplanationError(f"ColumnTransformer's part {name!r} does not make the columns that it should")
        made += found
    return made
