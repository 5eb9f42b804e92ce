"""Categories in the columns of pandas."""

from typing import Any

import pandas as pd
import pytest

from contract import FeatureSpec
from scoring.errors import FeatureColumnError
from scoring.feature_columns import categories_of


def category(dtype: str) -> FeatureSpec:
    return FeatureSpec.model_validate(
        {"name": "v__shelf", "dtype": dtype, "view": "v", "sources": ("v",), "kind": "categorical"}
    )


@pytest.mark.parametrize(
    ("column", "dtype", "expected"),
    [
        (pd.Series([7.0, None]), "int64", [7, None]),
        (pd.Series([7, pd.NA], dtype="Int64"), "int64", [7, None]),
        (pd.Series(["a", pd.NA], dtype="string"), "string", ["a", None]),
        (pd.Series(["a", None, ""]), "string", ["a", None, ""]),
    ],
)
def test_nulls_of_any_kind_are_none(column: "pd.Series[Any]", dtype: str, expected: list[object]) -> None:
    assert expected == categories_of(column, category(dtype))


@pytest.mark.parametrize("column", [pd.Series([7.5]), pd.Series([float("inf")]), pd.Series([True]), pd.Series(["7"])])
def test_what_is_no_whole_number_is_refused_rather_than_rounded(column: "pd.Series[Any]") -> None:
    with pytest.raises(FeatureColumnError, match="'v__shelf': its values are not int64"):
        categories_of(column, category("int64"))
