"""Every form of MLflow's scoring protocol comes to the same model input, and what is wrong is named.

tests/e2e/test_invocations.py sends the same requests to `mlflow models serve`.
"""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.api.invocations.mlflow_protocol import ScoringProtocol
from service.errors import InvalidRequestError, RequestTooLargeError, ServiceError, UnsupportedMediaTypeError
from tests.models.scoring_requests import (
    CSV,
    PRIVATE,
    Request,
    bad,
    columns,
    five_forms,
    good,
    records,
    send,
    split,
    text,
)

NAMES = ["profile__spend", "profile__order_count", "activity__is_member"]
ROWS = [[120.5, 4.0, 1.0], [0.25, 1.0, 0.0], [3.0, 2.0, 1.0]]
GOOD, BAD = good(NAMES, ROWS), bad(NAMES, ROWS)


def parse(request: Request, names: list[str] = NAMES, max_rows: int = 1000) -> NDArray[np.float32]:
    return ScoringProtocol(names, max_rows).parse(request.content_type, request.body)


def refused(request: Request, names: list[str] = NAMES) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        parse(request, names)
    return raised.value


@pytest.mark.parametrize("label", GOOD)
def test_what_mlflow_takes_is_read_as_it_reads_it(label: str) -> None:
    matrix = parse(GOOD[label].request)

    assert np.dtype(np.float32) == matrix.dtype
    np.testing.assert_array_equal(matrix, np.array(GOOD[label].rows, dtype=np.float32))


@pytest.mark.parametrize("label", BAD)
def test_what_mlflow_refuses_is_refused_by_name(label: str) -> None:
    error = refused(BAD[label].request)

    assert (BAD[label].status, BAD[label].field) == (error.status, error.field)
    assert PRIVATE not in error.message
    assert error.message.startswith(f"{error.field}: " if error.status == 400 and error.field else "")


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
names = st.lists(st.text("abcxyz_0123456789", min_size=1), min_size=1, max_size=5, unique=True)


@st.composite
def frames(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[float]]]:
    """The model's inputs; the columns of a request, in any order and with others between them; its rows."""
    inputs = draw(names)
    extra = draw(names.map(lambda others: [f"extra {name}" for name in others]))
    order = draw(st.permutations(inputs + extra))
    return inputs, order, draw(st.lists(st.lists(finite, min_size=len(order), max_size=len(order)), min_size=1))


@given(frames())
def test_all_five_forms_of_a_frame_come_to_the_same_matrix(
    frame: tuple[list[str], list[str], list[list[float]]],
) -> None:
    inputs, order, rows = frame
    expected = np.array([[row[order.index(name)] for name in inputs] for row in rows], dtype=np.float32)

    for form, request in five_forms(order, rows).items():
        np.testing.assert_array_equal(parse(request, inputs), expected, err_msg=form)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_rounded_to_float32_or_refused_as_too_large(value: float) -> None:
    with np.errstate(over="ignore"):
        expected = np.float32(value)
    for form, request in five_forms(["a", "b"], [[1.0, value]]).items():
        if math.isfinite(expected):
            assert expected == parse(request, ["a", "b"])[0, 1], form
        else:
            assert "range of float32" in refused(request, ["a", "b"]).message, form


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["x", *NAMES]), inner, max_size=4),
    max_leaves=20,
)
form_names = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"])
split_bodies = st.fixed_dictionaries(
    {}, optional={"columns": json_values | st.just(NAMES), "data": json_values, "index": json_values}
)


@given(form_names, json_values | split_bodies)
def test_no_json_makes_it_fail_in_any_other_way(form: str, content: Any) -> None:
    try:
        matrix = parse(send({form: content}))
    except InvalidRequestError:
        return
    assert np.isfinite(matrix).all()


@given(st.binary() | st.text('a,1."\n\r \t;-').map(lambda lines: ("a,b\n" + lines).encode()))
def test_no_csv_makes_it_fail_in_any_other_way(body: bytes) -> None:
    try:
        matrix = parse(Request(CSV, body), ["a", "b"])
    except InvalidRequestError:
        return
    assert np.isfinite(matrix).all()


@pytest.mark.parametrize("form", five_forms(NAMES, ROWS))
def test_one_row_more_than_allowed_is_too_large(form: str) -> None:
    assert 3 == len(parse(five_forms(NAMES, ROWS)[form], max_rows=3))
    with pytest.raises(RequestTooLargeError, match="at most 2 rows") as raised:
        parse(five_forms(NAMES, ROWS)[form], max_rows=2)
    assert raised.value.field in ("dataframe_split.data", form)


@pytest.mark.parametrize("content_type", [None, "", "application/json;", "application/vnd.apache.parquet"])
def test_a_body_of_no_known_type_is_not_read(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaTypeError) as raised:
        ScoringProtocol(NAMES, 10).parse(content_type, send(split(NAMES, ROWS)).body)
    assert (415, "unsupported_media_type") == (raised.value.status, raised.value.code)


@pytest.mark.parametrize(
    "content_type", ["Application/JSON", 'application/json; charset="utf-8"', " application/json "]
)
def test_a_content_type_is_read_as_http_has_it(content_type: str) -> None:
    assert (3, 3) == parse(send(split(NAMES, ROWS), content_type)).shape


@pytest.mark.parametrize(
    "content",
    [
        {"inputs": [1, 2]},
        {"instances": [1, 2]},
        {"inputs": "x"} | {"inputs": {"only": [1, 2]}},
        {"dataframe_split": {"columns": ["only"], "data": [1, 2]}},
        {"dataframe_split": {"columns": ["only"], "data": [[1], [2]]}},
    ],
)
def test_the_values_of_an_only_input_need_no_name_or_row(content: object) -> None:
    assert [[1], [2]] == parse(send(content), ["only"]).tolist()


def test_two_instances_with_half_of_the_inputs_each_are_not_one_row() -> None:
    """MLflow answers them with one prediction."""
    first, second = records(NAMES, ROWS[:1])[0], records(NAMES, ROWS[1:2])[0]
    halves = [{NAMES[0]: first[NAMES[0]]}, {name: second[name] for name in NAMES[1:]}]

    assert f"instances.0.{NAMES[1]}" == refused(send({"instances": halves})).field


@pytest.mark.parametrize(
    "body",
    [
        text([NAMES + [""] * 400_000] + [["1"]] * 999),
        text([NAMES, ["1" * 100_000 + "x", 1, 1]]),
        text([NAMES, [" " * 100_000 + "x", 1, 1]]),
        send({"inputs": {**columns(NAMES, ROWS), "x": ["y" * 400_000, *[""] * 100_000]}}),
        send({"instances": [{str(i): 0} for i in range(60_000)]}),
        send({"dataframe_split": {"columns": [*NAMES, *[0] * 200_000], "data": [[1]] * 999}}),
    ],
    ids=["wide csv", "long number", "long blank", "long text", "many members", "wide split"],
)
@pytest.mark.timeout(10)
def test_a_body_of_a_megabyte_costs_no_more_than_a_megabyte_should(body: Request) -> None:
    """Each of them takes minutes or gigabytes if it is read into a frame, or with a careless pattern."""
    assert refused(body).status in (400, 413)
