"""Rows that one model saw, as another model with other inputs, vocabularies and policies would have seen them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from contract import ModelContract
from scoring.errors import ModelError
from scoring.models.other_inputs import by_inputs_of, row_without_values, seen_by
from tests.models.fakes import DEFAULTS, small_contract
from tests.models.mixed_model import NAMES, PLAN, REGION, STORE, VOCABULARIES, mixed_contract, mixed_rows


def values(*stores: int) -> dict[str, object]:
    """A vocabulary of stores, and what belongs to it."""
    counts = {"counts": (1,) * len(stores), "unseen": 0, "missing": 0}
    distribution = {"training": (1,) * len(stores), "null_rate": 0.0, "histogram": counts}
    return {"vocabulary": stores, "default": stores[0], "distribution": distribution}


def translated(rows: NDArray[np.float32], of: ModelContract, to: ModelContract) -> NDArray[np.float32]:
    return seen_by(to, by_inputs_of(to, of.inputs, rows))


def test_a_model_of_the_same_inputs_sees_the_same_bits() -> None:
    contract = mixed_contract()
    rows = mixed_rows("binary", 3)[0].to_numpy()
    rows[0, NAMES.index(PLAN)] = -1

    np.testing.assert_array_equal(rows, translated(rows, contract, contract))


def test_codes_are_those_of_the_other_vocabulary_and_what_it_does_not_know_is_unseen() -> None:
    before, now = mixed_contract(store=values(7, 9, 400)), mixed_contract()
    assert (3, 7, 11, 400) == VOCABULARIES[STORE]
    rows = np.repeat(mixed_rows("binary", 3, rows=1)[0].to_numpy(), 5, axis=0)
    rows[:, NAMES.index(STORE)] = [0, 1, 2, 3, -1]

    assert [-1, 0, -1, 2, -1] == translated(rows, now, before)[:, NAMES.index(STORE)].tolist()


def test_a_null_is_the_other_models_default_where_it_keeps_none() -> None:
    keeps_none = mixed_contract(
        age={"on_missing": "use_default", "default": 33.0, "default_from": "training_median"},
        region={"on_missing": "use_default", "default": "region c", "default_from": "training_mode"},
    )
    rows = mixed_rows("binary", 3, rows=1)[0].to_numpy()
    rows[0, 1], rows[0, NAMES.index(REGION)] = np.nan, -2

    found = translated(rows, mixed_contract(), keeps_none)

    assert (33.0, 2.0) == (found[0, 1], found[0, NAMES.index(REGION)])


def test_an_input_that_is_not_there_or_of_another_kind_is_named() -> None:
    contract, small = mixed_contract(), small_contract()
    rows = mixed_rows("binary", 3)[0].to_numpy()
    with pytest.raises(ModelError, match=f"lack inputs: {PLAN}"):
        by_inputs_of(contract, small.inputs, rows[:, :5])

    number: dict[str, object] = {"kind": "numeric", "dtype": "float32", "vocabulary": None, "default": 1.0}
    number |= {"default_from": "training_median", "distribution": small.inputs[0].distribution}
    with pytest.raises(ModelError, match=f"'{STORE}' is numeric in the rows, categorical in the contract"):
        by_inputs_of(contract, mixed_contract(store=number).inputs, rows)


def test_a_row_without_values_has_the_defaults_and_the_kept_nulls() -> None:
    np.testing.assert_array_equal([[0, np.nan, 1, -2, 1, 0]], row_without_values(mixed_contract()))
    assert [list(DEFAULTS.values())] == row_without_values(small_contract()).tolist()
