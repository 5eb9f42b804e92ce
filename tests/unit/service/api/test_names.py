"""Join keys and outputs, which a use case names, meet no other member or parameter of any call."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from contract import EntityKey, ModelContract, Output
from contract.tasks import RESERVED_JOIN_KEYS, RESERVED_OUTPUTS
from service.api.members.bodies import Bodies
from service.api.members.queries import why_no_history
from tests.models.fakes import contract_of
from tests.models.typed import typed_contract

CONTRACTS = [*(contract_of(kind) for kind in ("binary", "multiclass", "regression")), typed_contract()]


def named_together(body: type[BaseModel]) -> Iterator[set[str]]:
    """Names of the members of each object in a body."""
    schema: dict[str, Any] = body.model_json_schema()
    for each in (schema, *schema.get("$defs", {}).values()):
        yield set(each.get("properties", ()))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda each: f"{each.task.kind}, {len(each.inputs)} inputs")
def test_a_name_that_a_call_has_already_is_reserved(contract: ModelContract) -> None:
    bodies = Bodies.of(contract)
    called = [*bodies.answers.values(), *bodies.requests.of_call.values(), *bodies.requests.of_query.values()]
    keys = {key.join_key for key in contract.feature_schema.entity_keys}
    outputs = {output.name for output in contract.outputs}

    objects = [names for body in called for names in named_together(body)]
    beside_keys = set().union(*(names for names in objects if names & keys)) - keys - outputs
    beside_outputs = set().union(*(names for names in objects if names & outputs)) - keys - outputs

    assert {"limit", "status", "features"} <= beside_keys
    assert {"time", "status", "base_value"} <= beside_outputs
    assert (set(), set()) == (beside_keys - RESERVED_JOIN_KEYS, beside_outputs - RESERVED_OUTPUTS)


def test_a_model_of_before_with_a_name_of_the_history_is_served_without_it() -> None:
    made = contract_of("regression")
    limit = made.feature_schema.model_copy(update={"entity_keys": (EntityKey(join_key="limit", dtype="string"),)})

    def with_output(name: str) -> ModelContract:
        return ModelContract.model_validate({**dict(made), "outputs": (Output(name=name, kind="value"),)})

    assert ["", "GET /history has a member time of its own", "GET /history has a member shadow of its own"] == [
        why_no_history(with_output(name)) for name in ("limit", "time", "shadow")
    ]
    assert "GET /history has a parameter limit of its own" == why_no_history(
        made.model_copy(update={"feature_schema": limit})
    )
