"""The columns of keys and outputs in files, for each task: what is written is read again."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from artefacts.log_rows import FIXED_COLUMNS, inference_log_schema, keys_of, log_schema_of, outputs_of_log
from artefacts.output_columns import output_columns, output_fields, read_outputs
from artefacts.prediction_rows import prediction_schema
from contract import ContractError, ModelContract, MulticlassTask, RegressionTask, Task, outputs_of
from scoring.task_outputs import task_outputs
from tests.models.fakes import small_contract

CLASSES = ("none", "one", "many")
SCORED = np.array([True, False, True])


def contract_of(task: Task, target: str) -> ModelContract:
    return small_contract().model_copy(update={"task": task, "outputs": outputs_of(task.kind, target)})


BINARY = small_contract()
MULTICLASS = contract_of(MulticlassTask(classes=CLASSES), "orders")
REGRESSION = contract_of(RegressionTask(at_least=0.0), "spend")
SCORES: dict[str, Any] = {
    "binary": np.array([0.25, np.nan, 0.75]),
    "multiclass": np.array([[0.5, 0.3, 0.2], [np.nan] * 3, [0.1, 0.2, 0.7]]),
    "regression": np.array([-1.0, np.nan, 12.5]),
}


def table_of(contract: ModelContract) -> pa.Table:
    outputs = task_outputs(contract).of(SCORES[contract.task.kind])
    return pa.table(output_columns(contract, outputs, SCORED), schema=pa.schema(output_fields(contract)))


@pytest.mark.parametrize(
    ("contract", "rows"),
    [
        (BINARY, [{"churn_probability": 0.25, "churn": False}, {"churn_probability": 0.75, "churn": True}]),
        (
            MULTICLASS,
            [
                {"orders_probabilities": [0.5, 0.3, 0.2], "orders": "none"},
                {"orders_probabilities": [0.1, 0.2, 0.7], "orders": "many"},
            ],
        ),
        (REGRESSION, [{"spend": 0.0}, {"spend": 12.5}]),
    ],
    ids=lambda given: given.task.kind if isinstance(given, ModelContract) else "",
)
def test_outputs_are_columns_by_name_and_null_where_a_row_was_not_scored(
    contract: ModelContract, rows: list[dict[str, Any]]
) -> None:
    nothing = {output.name: None for output in contract.outputs}

    assert [rows[0], nothing, rows[1]] == table_of(contract).to_pylist()


@pytest.mark.parametrize("contract", [BINARY, MULTICLASS, REGRESSION], ids=lambda given: given.task.kind)
def test_what_was_written_is_read_again(contract: ModelContract) -> None:
    written = task_outputs(contract).of(SCORES[contract.task.kind])

    for one, other in zip(written, read_outputs(table_of(contract), contract), strict=True):
        np.testing.assert_array_equal(one[SCORED], other[SCORED])
        assert one.dtype == other.dtype


@pytest.mark.parametrize("contract", [BINARY, MULTICLASS, REGRESSION], ids=lambda given: given.task.kind)
def test_files_hold_what_the_api_answers(contract: ModelContract) -> None:
    rules = task_outputs(contract)
    outputs = rules.of(SCORES[contract.task.kind])
    names = [output.name for output in contract.outputs]

    answered = [dict(zip(names, row, strict=True)) for row in rules.values(outputs)]
    kept = table_of(contract).to_pylist()
    for row in np.flatnonzero(SCORED):
        as_lists = {name: list(of.values()) if isinstance(of, dict) else of for name, of in answered[row].items()}
        assert as_lists == kept[row]


@pytest.mark.parametrize("contract", [BINARY, MULTICLASS, REGRESSION], ids=lambda given: given.task.kind)
def test_no_rows_are_no_rows_of_the_same_columns(contract: ModelContract) -> None:
    rows = table_of(contract).slice(0, 0)

    assert {0} == {len(values) for values in read_outputs(rows, contract)}
    outputs = task_outputs(contract).of(SCORES[contract.task.kind][:0])
    assert rows == pa.table(output_columns(contract, outputs, SCORED[:0]))


def test_the_columns_of_a_binary_model_are_those_of_version_1() -> None:
    assert ["customer_id", "churn_probability", "churn", "status"] == prediction_schema(BINARY).names[:4]
    assert ["request_id", "row", "customer_id", "as_of"] == inference_log_schema(BINARY).names[:4]
    assert ["status", "churn_probability", "churn", "inputs"] == inference_log_schema(BINARY).names[10:14]


@pytest.mark.parametrize("contract", [BINARY, MULTICLASS, REGRESSION], ids=lambda given: given.task.kind)
def test_a_log_tells_its_keys_and_outputs_without_the_contract(contract: ModelContract) -> None:
    schema = inference_log_schema(contract)

    assert schema == log_schema_of(schema)
    assert ["customer_id"] == [key.name for key in keys_of(schema)]
    assert [output.name for output in contract.outputs] == [output.name for output in outputs_of_log(schema)]


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ({"states"}, "has no column states"),
        ({"customer_id"}, "has no column of a key between row and as_of"),
        ({"churn_probability", "churn"}, "has no column of an output between status and inputs"),
    ],
)
def test_what_a_log_lacks_is_named(left_out: set[str], said: str) -> None:
    found = pa.schema([column for column in inference_log_schema(BINARY) if column.name not in left_out])

    with pytest.raises(ValueError, match=said):
        log_schema_of(found)


@pytest.mark.parametrize(
    ("table", "contract", "said"),
    [
        (table_of(REGRESSION), MULTICLASS, "column 'orders_probabilities' is missing, which the contract answers"),
        (pa.table({"spend": ["a lot"]}), REGRESSION, "column 'spend' is string; a value is double"),
        (
            table_of(MULTICLASS),
            contract_of(MulticlassTask(classes=CLASSES[:2]), "orders"),
            "column 'orders_probabilities' holds 3 probabilities a row; the contract has 2 classes",
        ),
    ],
)
def test_rows_of_another_contract_are_refused_by_the_column(
    table: pa.Table, contract: ModelContract, said: str
) -> None:
    with pytest.raises(ContractError, match=said):
        read_outputs(table, contract)


def test_every_log_has_the_fixed_columns() -> None:
    for contract in (BINARY, MULTICLASS, REGRESSION):
        assert set(FIXED_COLUMNS.names) < set(inference_log_schema(contract).names)
