"""Whom the types of a stored pipeline are trusted by: this project's list, and whoever sets MODEL_TRUSTED_TYPES."""

import json
from collections.abc import Callable

import pytest
import skops.io
from sklearn.feature_selection import SelectKBest, chi2, f_classif, f_regression

from contract import ContractError
from scoring.models.stored_pipeline import foreign_types
from scoring.models.trusted_types import SETTING, TRUSTED_TYPES, trusted_types
from tests.models.fakes import small_contract


@pytest.mark.parametrize("text", ["", "  ", ","])
def test_without_the_setting_ours_are_trusted_alone(text: str) -> None:
    assert TRUSTED_TYPES == trusted_types({SETTING: text}) == trusted_types({})


@pytest.mark.parametrize("text", ["a.B c.d.E", "a.B,c.d.E", " a.B,\n c.d.E "])
def test_named_types_are_trusted_beside_ours(text: str) -> None:
    assert TRUSTED_TYPES | {"a.B", "c.d.E"} == trusted_types({SETTING: text})


@pytest.mark.parametrize("text", ["*", "xgboost", "xgboost.*", "a..B", ".a", "a.B;c.D", "a.1"])
def test_what_is_no_full_name_of_a_type_is_refused_by_name(text: str) -> None:
    with pytest.raises(ContractError, match=r"MODEL_TRUSTED_TYPES: .* is not the full name of a type"):
        trusted_types({SETTING: text})


def test_a_contract_without_foreign_types_is_written_as_ever() -> None:
    assert "trusted_types" not in json.loads(small_contract().to_json())
    assert "trusted_types" not in small_contract().model_dump(mode="json")


@pytest.mark.parametrize("statistic", [chi2, f_classif, f_regression])
def test_scikit_learns_statistics_for_selections_are_trusted(statistic: Callable[..., object]) -> None:
    selection = SelectKBest(statistic, k=1).fit([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]], [0, 1, 1])

    assert not foreign_types(skops.io.dumps(selection))
