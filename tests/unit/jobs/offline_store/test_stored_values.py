"""Arrow's columns, as batches read them, and pandas', as Feast's join gives them, become the same numbers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contract import FeatureInput
from jobs.errors import JobError
from jobs.offline_store.stored_values import python_values, raw_values
from scoring.errors import FeatureColumnError
from scoring.feature_columns import encoded
from tests.models.typed import BALANCE, REGION, SEGMENT, SIGNED_UP, TASTE, typed_contract

INPUTS = {given.name: given for given in typed_contract().inputs}
TIME = pa.timestamp("us", tz="UTC")
TASTES = [INPUTS[f"{TASTE}__0"], INPUTS[f"{TASTE}__1"]]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS: list[tuple[str, pa.Array, list[float]]] = [
    (SEGMENT, pa.array(["student", "", None, "élan", "family"]), [2.0, -1.0, np.nan, -1.0, 0.0]),
    (SEGMENT, pa.array([None, None], pa.string()), [np.nan, np.nan]),
    (REGION, pa.array([20, 2**53, None, 7], pa.int64()), [1.0, 2.0, np.nan, -1.0]),
    (REGION, pa.array([2**53, 2**53 + 1], pa.int64()), [2.0, -1.0]),
    (BALANCE, pa.array([1.5, None, float("inf")]), [1.5, np.nan, np.inf]),
    (
        SIGNED_UP,
        pa.array([EPOCH + timedelta(seconds=1.75), EPOCH - timedelta(seconds=1.75), None], TIME),
        [1.0, -1.0, np.nan],
    ),
    (f"{TASTE}__1", pa.array([[1.0, 2.0], None, [3.0, -4.5]]), [2.0, np.nan, -4.5]),
]


@pytest.mark.parametrize(("name", "column", "expected"), COLUMNS)
def test_both_give_the_number_that_the_online_store_gives(name: str, column: pa.Array, expected: list[float]) -> None:
    given: FeatureInput = INPUTS[name]
    of_pandas: Any = pa.table({given.reference: column}).to_pandas(integer_object_nulls=True)

    alike = [each for each in INPUTS.values() if each.reference == given.reference]
    at = alike.index(given)
    np.testing.assert_array_equal(raw_values(column, given, len(alike)), expected)
    np.testing.assert_array_equal(encoded(of_pandas, alike)[:, at], expected)


def test_a_null_element_is_0_as_online_and_refused_where_pandas_cannot_tell_it_from_nan() -> None:
    column = pa.array([[1.0, None], [1.0, 2.0]])

    np.testing.assert_array_equal(raw_values(column, INPUTS[f"{TASTE}__1"], 2), [0.0, 2.0])
    with pytest.raises(FeatureColumnError, match=r"'merchant__taste'.*null or NaN element"):
        encoded(pa.table({TASTE: column}).to_pandas(), TASTES)


@pytest.mark.parametrize("wrong", [[1.0], [1.0, 2.0, 3.0], []])
def test_an_array_of_another_length_is_refused_by_name(wrong: list[float]) -> None:
    column = pa.array([[1.0, 2.0], wrong, None])
    said = f"'{TASTE}'.*an array has {len(wrong)} elements, not 2"

    with pytest.raises(JobError, match=said):
        raw_values(column, TASTES[1], 2)
    with pytest.raises(FeatureColumnError, match=said):
        encoded(pa.table({TASTE: column}).to_pandas(), TASTES)


def test_a_column_by_dictionary_has_the_same_codes() -> None:
    column = pa.array(["student", None, "nobody"]).dictionary_encode()

    np.testing.assert_array_equal(raw_values(column, INPUTS[SEGMENT]), [2.0, np.nan, -1.0])


def test_on_demand_code_gets_times_of_whole_seconds() -> None:
    column = pa.array([EPOCH + timedelta(seconds=5.5), None], TIME)

    assert [EPOCH + timedelta(seconds=5), None] == python_values(column)
