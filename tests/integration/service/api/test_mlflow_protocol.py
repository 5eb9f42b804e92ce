"""Whatever a request holds, it is read or refused as MLflow's own parser and signature do it.

The known exceptions are named by `ScoringProtocol` and are not drawn here.
"""

import json
import warnings
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.models.utils import _enforce_schema
from mlflow.types import ColSpec, Schema
from mlflow.utils.proto_json_utils import dataframe_from_parsed_json, parse_tf_serving_input
from numpy.typing import NDArray

from service.api.invocations.mlflow_protocol import ScoringProtocol
from service.errors import InvalidRequestError
from tests.models.scoring_requests import JSON, columns, records, split

NAMES = ["profile__spend", "profile__order_count", "activity__is_member"]
SIGNATURE = Schema([ColSpec("float", name) for name in NAMES])

numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.booleans()
odd = st.sampled_from([None, "2.5", " 3", "1_0", "x", "", "nan", "٣", [], [1.0], [[1], [1, 2]], {}, {"a": 1}])


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """A frame of up to three rows in one of the forms, mostly sound: extra columns, odd cells, something left out."""
    names = draw(st.permutations([*NAMES, *draw(st.sampled_from([[], ["x"], ["x", "y"]]))]))
    cells = numbers | odd if draw(st.booleans()) else numbers
    rows = draw(st.lists(st.lists(cells, min_size=len(names), max_size=len(names)), min_size=1, max_size=3))
    form = draw(st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "records", "columns"]))
    leave_out = draw(st.sampled_from(["nothing", "nothing", "nothing", *names]))
    if form == "dataframe_split":
        if leave_out != "nothing":
            rows[-1].pop()
        return split(names, rows, **draw(st.sampled_from([{}, {"index": list("aab")[: len(rows)]}])))
    if form in ("dataframe_records", "instances", "records"):
        found = records(names, rows)
        found[-1].pop(leave_out, None)
        return {"inputs" if form == "records" else form: found}
    held: dict[str, Any] = columns(names, rows)
    held.pop(leave_out, None)
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(held)))
        held[name] = draw(st.sampled_from([held[name][0], held[name][:1], [*held[name], 1]]))
    return {"instances" if form == "columns" else "inputs": held}


def of_mlflow(body: dict[str, Any]) -> NDArray[np.float32] | None:
    """The model's input as MLflow makes it; None if it refuses, or if a model that takes no nulls would."""
    ((form, content),) = json.loads(json.dumps(body)).items()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if form.startswith("dataframe_"):
                parsed = dataframe_from_parsed_json(content, form.removeprefix("dataframe_"), SIGNATURE)  # type: ignore[no-untyped-call]
            else:
                parsed = parse_tf_serving_input({form: content}, SIGNATURE)  # type: ignore[no-untyped-call]
            matrix = _enforce_schema(parsed, SIGNATURE).to_numpy()
    except Exception:
        return None
    assert np.dtype(np.float32) == matrix.dtype
    return matrix if len(matrix) and np.isfinite(matrix).all() else None


def of_ours(body: dict[str, Any]) -> NDArray[np.float32] | None:
    try:
        return ScoringProtocol(NAMES, 10).parse(JSON, json.dumps(body).encode())
    except InvalidRequestError:
        return None


@settings(max_examples=500, deadline=None)
@given(bodies())
def test_a_request_is_read_or_refused_as_mlflow_does(body: dict[str, Any]) -> None:
    theirs, ours = of_mlflow(body), of_ours(body)

    assert (theirs is None) == (ours is None)
    if theirs is not None and ours is not None:
        np.testing.assert_array_almost_equal_nulp(
            theirs, ours, nulp=1
        )  # whole numbers beyond 2**53 round once or twice
