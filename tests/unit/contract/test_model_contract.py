import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from contract import (
    BinaryTask,
    ClassScores,
    ContractError,
    ContractVersionError,
    DecisionThreshold,
    EntityKey,
    Headline,
    Label,
    ModelContract,
    MulticlassTask,
    Output,
    Population,
    RegressionTask,
    outputs_of,
)
from contract.values.histogram import Histogram
from tests.unit.contract.builders import contract, feature, schema


def altered(path: tuple[str | int, ...], value: object) -> str:
    """The contract's JSON with one member replaced."""
    text: dict[str, Any] = json.loads(contract().to_json())
    place: Any = text
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return json.dumps(text)


def test_a_contract_survives_json_unchanged() -> None:
    original = contract()

    assert original == ModelContract.from_json(original.to_json())
    assert original == ModelContract.from_json(original.to_json().encode())
    assert original.sha256 == ModelContract.from_json(original.to_json()).sha256


def test_equal_contracts_have_equal_hashes_whatever_order_their_members_were_listed_in() -> None:
    one = contract(metrics={"brier": 0.1, "roc_auc": 0.8})
    other = contract(metrics={"roc_auc": 0.8, "brier": 0.1})

    assert one == other
    assert one.sha256 == other.sha256


THRESHOLD = DecisionThreshold(value=0.5, rule="youden")

CHANGES: dict[str, object] = {
    "model_name": "other",
    "model_version": "4",
    "run_id": "0" * 32,
    "feature_schema": schema().model_copy(update={"transformations": {"recency": "00" * 32}}),
    "inputs": (feature("lifetime__spend"), feature("windowed__orders", dtype="int64")),
    "entity": "household",
    "task": BinaryTask(classes=("churns", "stays"), threshold=THRESHOLD),
    "outputs": outputs_of("binary", "left"),
    "headline": Headline(population="all", metric="brier"),
    "age_feature": "recency__days",
    "training_window": {"first": "2023-01-01T00:00:00+00:00"},
    "data_fingerprint": "00" * 32,
    "metrics": {"roc_auc": 0.81},
    "scores": Histogram(edges=(0.5,), counts=(1, 2), missing=0),
    "library_versions": {"numpy": "2.4.7"},
    "label": Label(name="churned", days=90, definition="no order in the 90 days from then on"),
    "populations": {"active": Population(feature="windowed__orders", at_most=180)},
    "trusted_types": ("xgboost.core.Booster",),
}


def test_every_member_can_change_the_hash() -> None:
    assert set(ModelContract.model_fields) - {"schema_version"} == set(CHANGES)


@pytest.mark.parametrize("member", CHANGES)
def test_the_hash_changes_with(member: str) -> None:
    assert contract().sha256 != contract(**{member: CHANGES[member]}).sha256


def test_the_order_of_the_inputs_is_part_of_the_hash() -> None:
    inputs = contract().inputs

    assert contract().sha256 != contract(inputs=inputs[::-1]).sha256


def test_a_contract_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        contract().model_version = "9"


def test_a_contract_of_a_later_schema_is_refused_as_such() -> None:
    with pytest.raises(ContractVersionError, match="schema_version 3"):
        ModelContract.from_json(altered(("schema_version",), 3))


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("surprise",), 1, "surprise"),
        (("inputs", 1, "surprise"), 1, "inputs.1.surprise"),
        (("inputs", 0, "dtype"), "decimal", "inputs.0.dtype"),
        (("inputs", 0, "default"), None, "inputs.0.default"),
        (("inputs", 2, "distribution", "quantiles"), [1.0], "inputs.2.distribution.numeric.quantiles"),
        (("inputs",), [], "inputs"),
        (("task", "threshold", "value"), 1.5, "task.binary.threshold.value"),
        (("task", "kind"), "ranking", "task"),
        (("metrics", "brier"), "good", "metrics.brier"),
        (("task", "classes"), ["only one"], "task.binary.classes"),
        (("outputs", 0, "name"), "churn probability", "outputs.0.name"),
        (("schema_version",), "1", "schema_version"),
    ],
)
def test_a_wrong_member_is_refused_and_named(path: tuple[str | int, ...], value: object, place: str) -> None:
    with pytest.raises(ContractError) as caught:
        ModelContract.from_json(altered(path, value))

    assert f"invalid at {place}" in str(caught.value)


def test_a_member_left_out_is_refused_and_named() -> None:
    text = json.loads(contract().to_json())
    del text["run_id"]

    with pytest.raises(ContractError, match="invalid at run_id"):
        ModelContract.from_json(json.dumps(text))


@pytest.mark.parametrize("text", [contract().to_json()[:-40], "", b"\xff\xfe{}"])
def test_text_that_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ContractError, match="not JSON"):
        ModelContract.from_json(text)


def test_json_that_is_no_object_is_refused() -> None:
    with pytest.raises(ContractError, match="not a JSON object"):
        ModelContract.from_json("[]")


def test_a_feature_listed_twice_is_refused() -> None:
    twice = (feature("lifetime__spend"), feature("lifetime__spend"))

    with pytest.raises(ValidationError, match="listed twice"):
        contract(inputs=twice)


def test_an_input_that_the_feature_service_does_not_offer_is_refused_and_named() -> None:
    with pytest.raises(ValidationError, match="lifetime__shoe_size"):
        contract(inputs=(feature("lifetime__shoe_size"),))


def test_an_input_from_a_view_that_is_not_listed_is_refused_and_named() -> None:
    with pytest.raises(ValidationError, match="elsewhere"):
        contract(inputs=(feature("lifetime__spend", sources=("elsewhere",)),))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_json_cannot_hold_is_refused_before_it_is_written(number: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        contract(metrics={"roc_auc": number})
    with pytest.raises(ValidationError, match="finite"):
        feature("lifetime__spend", default=number)


@pytest.mark.parametrize("changed", [{"dtype": "int32"}, {"sources": ("lifetime",)}, {"view": "lifetime"}])
def test_an_input_that_is_not_what_the_schema_says_of_it_is_refused(changed: dict[str, object]) -> None:
    first, *rest = contract().inputs
    with pytest.raises(ValidationError, match="is not what feature_schema says of it"):
        contract(inputs=(first.model_copy(update=changed), *rest))


def test_a_label_and_populations_survive_json() -> None:
    original = contract(label=CHANGES["label"], populations=CHANGES["populations"])

    assert original == ModelContract.from_json(original.to_json())
    assert {"feature": "windowed__orders", "at_most": 180} == json.loads(original.to_json())["populations"]["active"]


@pytest.mark.parametrize(
    ("window", "days"),
    [
        ({"last_cutoff": "2026-03-01T00:00:00+00:00", "labels_until": "2026-03-31T00:00:00+00:00"}, 30),
        ({"last_cutoff": "2026-03-01T00:00:00+00:00"}, None),
        ({"last_cutoff": "2026-03-01", "labels_until": "2026-03-31T00:00:00+00:00"}, None),
        ({"last_cutoff": "then", "labels_until": "later"}, None),
        ({"last_cutoff": "2026-03-31", "labels_until": "2026-03-01"}, None),
        ({}, None),
    ],
)
def test_the_labels_length_of_an_older_contract_is_that_of_its_last_window(
    window: dict[str, str], days: int | None
) -> None:
    assert days == contract(training_window=window).label_days
    assert 60 == contract(training_window=window, label=Label(name="churned", days=60, definition="")).label_days


def test_a_population_of_a_feature_that_is_no_input_is_refused_and_named() -> None:
    with pytest.raises(ValidationError, match=r"populations\.active: 'shoe_size' is not an input"):
        contract(populations={"active": Population(feature="shoe_size", at_most=1)})


def test_a_population_without_a_bound_is_refused() -> None:
    with pytest.raises(ValidationError, match="at_least or at_most is needed"):
        Population(feature="windowed__orders")


def test_an_age_that_is_no_input_is_refused_and_named() -> None:
    with pytest.raises(ValidationError, match=r"age_feature: 'shoe_size' is not an input"):
        contract(age_feature="shoe_size")


def test_a_headline_of_a_population_that_is_not_promised_is_refused_and_named() -> None:
    with pytest.raises(ValidationError, match=r"headline\.population: 'active' is not a population"):
        contract(headline=Headline(population="active", metric="roc_auc"))


MULTICLASS = {"task": MulticlassTask(classes=("a", "b", "c")), "outputs": outputs_of("multiclass", "department")}
REGRESSION = {"task": RegressionTask(at_least=0.0, unit="$"), "outputs": outputs_of("regression", "spend")}


@pytest.mark.parametrize("members", [MULTICLASS, REGRESSION])
def test_a_contract_of_another_task_survives_json(members: dict[str, Any]) -> None:
    original = contract(**members)

    assert original == ModelContract.from_json(original.to_json())
    assert original.sha256 == ModelContract.from_json(original.to_json()).sha256
    with pytest.raises(ContractError, match="not a binary one"):
        _ = original.binary


def test_outputs_are_named_after_the_target() -> None:
    assert ["churn_probability", "churn"] == [output.name for output in contract().outputs]
    assert ["department_probabilities", "department"] == [o.name for o in contract(**MULTICLASS).outputs]
    assert ["spend"] == [output.name for output in contract(**REGRESSION).outputs]


def test_outputs_of_another_task_are_refused() -> None:
    with pytest.raises(ValidationError, match="a regression model answers value, in this order"):
        contract(task=RegressionTask())


@pytest.mark.parametrize("name", ["features", "status"])
def test_a_join_key_with_the_name_of_another_member_is_refused_and_named(name: str) -> None:
    schema = contract().feature_schema
    keys = (EntityKey(join_key=name, dtype="string"),)

    with pytest.raises(ValidationError, match=f"a join key cannot have the name '{name}'"):
        contract(feature_schema=schema.model_copy(update={"entity_keys": keys}))


@pytest.mark.parametrize("name", ["customer_id", "status", "model_version", "space"])
def test_an_output_with_the_name_of_another_member_is_refused_and_named(name: str) -> None:
    with pytest.raises(ValidationError, match=f"the name '{name}' is taken"):
        contract(task=RegressionTask(), outputs=(Output(name=name, kind="value"),))


def test_bounds_that_leave_no_value_are_refused() -> None:
    with pytest.raises(ValidationError, match="at_least: must be below at_most"):
        RegressionTask(at_least=1.0, at_most=1.0)


def test_a_class_listed_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="a class is listed twice"):
        MulticlassTask(classes=("a", "b", "a"))


@pytest.mark.parametrize(
    ("members", "scores"),
    [
        (MULTICLASS, Histogram(edges=(), counts=(1,), missing=0)),
        (MULTICLASS, ClassScores(counts=(1, 2), top=Histogram(edges=(), counts=(3,), missing=0))),
        (REGRESSION, ClassScores(counts=(1, 2, 3), top=Histogram(edges=(), counts=(6,), missing=0))),
    ],
)
def test_scores_that_do_not_fit_the_task_are_refused(members: dict[str, Any], scores: object) -> None:
    with pytest.raises(ValidationError, match="scores"):
        contract(**members, scores=scores)
