"""MLflow's scoring protocol for texts of categories and for nulls, held against the pipeline as MLflow serves it."""

import json
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc import PyFuncModel, load_model
from mlflow.types import ColSpec, Schema, TensorSpec

from contract import FeatureInput
from scoring.models.model_frame import model_frame
from service.api.invocations.mlflow_protocol import ScoringProtocol
from service.errors import InvalidRequestError
from tests.models.typed import BALANCE, DEFAULTS, REGION, SEGMENT, TASTE, typed_contract, typed_pipeline

PRIVATE = "private-4711"
NAMES = list(DEFAULTS)
ROW: dict[str, Any] = {
    **dict.fromkeys(NAMES, 0.5),
    SEGMENT: "student",
    REGION: "20",
}
"""Region is a whole number in the store and text here, as in the signature."""


def protocol(**policies: dict[str, Any]) -> ScoringProtocol:
    return ScoringProtocol(NAMES, 100, typed_contract(policies).inputs)


def records(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"dataframe_records": list(rows)}).encode()


def seen(row: dict[str, Any], **policies: dict[str, Any]) -> dict[str, float]:
    (values,) = protocol(**policies).parse("application/json", records({**ROW, **row}))
    return dict(zip(NAMES, values.tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "cell", "code"),
    [
        (SEGMENT, "family", 0),
        (SEGMENT, "student", 2),
        (SEGMENT, PRIVATE, -1),
        (SEGMENT, "__unseen__", -1),
        (SEGMENT, "__missing__", -2),
        (SEGMENT, None, -2),
        (REGION, "10", 0),
        (REGION, str(2**53), 2),
        (BALANCE, None, np.nan),
        (BALANCE, "nan", np.nan),
        (BALANCE, "12.5", 12.5),
    ],
)
def test_texts_become_codes_and_nulls_stay_where_the_contract_keeps_them(name: str, cell: object, code: float) -> None:
    np.testing.assert_equal(seen({name: cell})[name], code)


def test_an_unknown_category_is_taken_as_the_contract_says() -> None:
    assert 0 == seen({REGION: PRIVATE}, **{REGION: {"on_unseen": "use_default"}})[REGION]
    assert -1 == seen({REGION: PRIVATE}, **{REGION: {"on_unseen": "use_value"}})[REGION]
    assert -2 == seen({SEGMENT: PRIVATE}, **{SEGMENT: {"on_unseen": "use_default"}})[SEGMENT]


@pytest.mark.parametrize(
    ("name", "cell", "said"),
    [
        (REGION, PRIVATE, "is not one of the model's categories; GET /model lists them"),
        (REGION, "__unseen__", "is not one of the model's categories; GET /model lists them"),
        (REGION, "__missing__", "is not one of the model's categories; GET /model lists them"),
        (REGION, 20, "must be text"),
        (REGION, None, "must be text"),
        (SEGMENT, 7, "must be text"),
        (SEGMENT, ["student"], "must be text"),
        (BALANCE, PRIVATE, "must be a number"),
        (BALANCE, 1e39, "must be a finite number within the range of float32"),
        (f"{TASTE}__0", None, "must be a finite number within the range of float32"),
    ],
)
def test_what_does_not_fit_is_named_and_never_repeated(name: str, cell: object, said: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        protocol().parse("application/json", records(ROW, {**ROW, name: cell}))

    path = f"dataframe_records.1.{name}"
    assert (path, f"{path}: {said}") == (raised.value.field, raised.value.message)


def test_every_form_comes_to_the_same_input() -> None:
    rows = [ROW, {**ROW, SEGMENT: PRIVATE, BALANCE: None}, {**ROW, SEGMENT: None, REGION: "10"}]
    frame = pd.DataFrame(rows)
    columns = {name: [row[name] for row in rows] for name in NAMES}
    cells = [list(row.values()) for row in rows]
    bodies: list[dict[str, Any]] = [
        {"dataframe_records": rows},
        {"dataframe_split": {"columns": NAMES, "data": cells}},
        {"instances": rows},
        {"inputs": rows},
        {"inputs": columns},
    ]

    made = [protocol().parse("application/json", json.dumps(body).encode()) for body in bodies]
    made.append(protocol().parse("text/csv", frame.to_csv(index=False).encode()))

    for matrix in made:
        np.testing.assert_array_equal(matrix, made[0])
    assert [2, -1, -2] == made[0][:, NAMES.index(SEGMENT)].tolist()


def test_an_empty_field_of_a_csv_is_null_and_named_where_the_model_takes_none() -> None:
    text = pd.DataFrame([ROW, {**ROW, REGION: ""}]).to_csv(index=False).encode()

    with pytest.raises(InvalidRequestError) as raised:
        protocol().parse("text/csv", text)

    assert f"csv.1.{REGION}" == raised.value.field


@pytest.fixture(scope="module")
def served_by_mlflow(tmp_path_factory: pytest.TempPathFactory) -> PyFuncModel:
    """The pipeline as `mlflow models serve` opens it, with its signature: text for a category, float for a number."""
    folder = tmp_path_factory.mktemp("mlflow") / "model"
    inputs = typed_contract().inputs
    columns: list[ColSpec | TensorSpec] = [
        ColSpec("string" if given.codes else "float", given.name, given.on_missing != "keep") for given in inputs
    ]
    mlflow.sklearn.save_model(
        typed_pipeline(),
        folder,
        signature=ModelSignature(Schema(columns)),
        pyfunc_predict_fn="predict_proba",
        skops_trusted_types=["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"],
    )
    return load_model(str(folder))


def _spoken(given: FeatureInput, text: str, row: int) -> Any:
    return text if given.codes else row / 4


def test_the_answer_is_that_of_mlflow_for_known_unseen_and_missing_values(
    served_by_mlflow: PyFuncModel,
) -> None:
    inputs = typed_contract().inputs
    texts = ["family", "senior", "student", "never seen", "__missing__", "__unseen__"]
    rows = [{given.name: _spoken(given, text, at) for given in inputs} for at, text in enumerate(texts)]
    for at, row in enumerate(rows):
        row[REGION] = ("10", "20", str(2**53))[at % 3]
        row[BALANCE] = None if at % 2 else 12.5

    frame = pd.DataFrame(rows)
    numbers = [given.name for given in inputs if given.codes is None]
    theirs = np.asarray(served_by_mlflow.predict(frame.astype(dict.fromkeys(numbers, np.float32))))

    matrix = protocol().parse("application/json", records(*rows))
    ours = typed_pipeline().predict_proba(model_frame(inputs, matrix))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert len({*ours[:, 1].tolist()}) > 3
