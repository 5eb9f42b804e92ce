"""What on-demand code returns lands in the model's columns as Feast would put it there.

`tests/integration/service/features/test_compiled_reader.py` holds the conversions against Feast's own.
"""

import math
from typing import Any

import numpy as np
import pytest

from scoring.feast.on_demand import OnDemandView, Output


def refuse(column: list[Any]) -> list[float]:
    raise AssertionError(f"Feast was asked about {column!r}")


def compute(returned: dict[str, Any], dtype: str = "float64", rows: int = 3, convert: Any = refuse) -> list[float]:
    """The column of the output `out`, the second of three."""
    values = np.full((rows, 3), -5.0)
    view: OnDemandView[str] = OnDemandView(lambda _: returned, {}, {"out": Output(1, dtype, convert)})
    view.compute({}, values)
    assert {-5.0} == set(values[:, [0, 2]].ravel())
    column: list[float] = values[:, 1].tolist()
    return column


@pytest.mark.parametrize(
    ("dtype", "returned", "expected"),
    [
        ("float64", [1.5, None, 2], [1.5, math.nan, 2.0]),
        ("float64", [math.inf, -0.0, math.nan], [math.inf, -0.0, math.nan]),
        ("float32", [0.1, np.float32(0.1), None], [float(np.float32(0.1)), float(np.float32(0.1)), math.nan]),
        ("float32", [1e308, -1e308, 16777217], [math.inf, -math.inf, 16777216.0]),
        ("int64", [2**63 - 1, -(2**63), None], [2.0**63, -(2.0**63), math.nan]),
        ("int32", [np.int32(7), 0, None], [7.0, 0.0, math.nan]),
        ("bool", [True, False, None], [1.0, 0.0, math.nan]),
    ],
)
def test_usual_values_are_converted_without_asking_feast(
    dtype: str, returned: list[Any], expected: list[float]
) -> None:
    np.testing.assert_array_equal(expected, compute({"out": returned}, dtype))


@pytest.mark.parametrize(
    ("dtype", "returned"),
    [
        ("float64", [1.0, "2", 3.0]),
        ("float64", [True, 1.0, 2.0]),
        ("int64", [1, 2.5, 3]),
        ("int64", [1, True, 3]),
        ("bool", [True, 1, 0]),
        ("float32", [[1.0], [2.0], [3.0]]),
    ],
)
def test_whatever_is_unusual_is_left_to_feast(dtype: str, returned: list[Any]) -> None:
    asked = []

    def convert(column: list[Any]) -> list[float]:
        asked.append(column)
        return [7.0, 8.0, math.nan]

    np.testing.assert_array_equal([7.0, 8.0, math.nan], compute({"out": returned}, dtype, convert=convert))
    assert [returned] == asked


@pytest.mark.parametrize(("dtype", "value"), [("int32", 2**31), ("int32", -(2**31) - 1), ("int64", 2**63)])
def test_an_integer_out_of_range_is_refused_as_feast_refuses_it(dtype: str, value: int) -> None:
    with pytest.raises(OverflowError):
        compute({"out": [1, value, None]}, dtype)


def test_an_output_that_is_left_out_stays_what_it_was() -> None:
    assert [-5.0] * 3 == compute({"another": [1.0] * 3})


def test_a_value_that_is_no_list_holds_for_every_row() -> None:
    assert [4.5] * 3 == compute({"out": 4.5})


@pytest.mark.parametrize("count", [2, 4])
def test_a_list_of_another_length_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="broadcast"):
        compute({"out": [1.0] * count})


def test_an_error_of_the_code_itself_comes_through() -> None:
    def broken(_: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        OnDemandView(broken, {}, {"out": Output(0, "float64", refuse)}).compute({}, np.zeros((1, 1)))
