"""Makes the methods of the `@bentoml.service` class from the model contract: one for each call that takes a body.

BentoML lists them in `/schema.json`, so that its clients find them. Over HTTP `service/api/routing.py` answers first,
and the methods run only for callers in the same process (docs/adr/0003, 0007).
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import bentoml
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from contract import ModelContract
from service.api.endpoints import ENDPOINTS, Endpoint
from service.api.members.bodies import Bodies
from service.api.openapi import invocation_forms

Json = dict[str, Any]
_RECORDS_OR_COLUMNS = {"description": "records, or columns of equal length"}
Class = TypeVar("Class", bound=type)


def with_bento_methods(contract: ModelContract | None, max_batch: int) -> Callable[[Class], Class]:
    """Decorate a class that has `answer_in_process(endpoint, arguments)` with a method for each call.

    Args:
        contract: of the pinned model; None makes no methods, and the start hook says what is wrong.
        max_batch: most keys or rows in one request.
    """

    def decorate(cls: Class) -> Class:
        if contract is not None:
            bodies = Bodies.of(contract, max_batch=max_batch)
            for endpoint in ENDPOINTS:
                if endpoint.method == "POST":
                    setattr(cls, endpoint.name, _method(endpoint, contract, bodies, max_batch))
        return cls

    return decorate


class _Arguments(BaseModel):
    """What BentoML's clients send: what was given, under the contract's names."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    def model_dump(self, **_options: Any) -> bytes:  # type: ignore[override]
        """As JSON. BentoML's client sends bytes as they are; a service that runs beside it would get a pickle else."""
        return self.model_dump_json(by_alias=True, exclude_unset=True).encode()

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> Json:
        schema = _without_references(super().model_json_schema(*arguments, **options))
        rows = schema["properties"].get("rows", {})
        # BentoML's client drops members that an object's schema does not list, and says nothing. Ours are refused.
        rows.get("items", {}).pop("properties", None)
        return schema


def _method(endpoint: Endpoint, contract: ModelContract, bodies: Bodies, max_batch: int) -> Any:
    taken = _arguments(endpoint, contract, bodies, max_batch)
    names = [field.alias or name for name, field in taken.model_fields.items()]

    def call(service: Any, /, *values: Any, **named: Any) -> Any:  # a join key may be named `service`
        if len(values) > len(names):
            raise TypeError(f"{endpoint.name} takes at most {len(names)} arguments, {', '.join(names)}")
        by_place = dict(zip(names, values, strict=False))
        if twice := by_place.keys() & named.keys():
            raise TypeError(f"{endpoint.name} got more than one value for {', '.join(twice)}")
        return service.answer_in_process(endpoint, {**by_place, **named})

    answer = bodies.answers[endpoint.name]
    # The answer stays a dict, as a client gets it that has only /schema.json.
    answered = Annotated[dict[str, Any], WithJsonSchema(_without_references(answer.model_json_schema()))]
    bento_self = inspect.Parameter("bento_self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [bento_self, *inspect.signature(taken).parameters.values()]
    call.__signature__ = inspect.Signature(parameters, return_annotation=answered)  # type: ignore[attr-defined]
    call.__name__ = endpoint.name
    call.__doc__ = endpoint.summary.replace("<entity>", contract.entity)
    return bentoml.api(input_spec=taken)(call)


def _arguments(endpoint: Endpoint, contract: ModelContract, bodies: Bodies, max_batch: int) -> type[BaseModel]:
    body = bodies.requests.of_call.get(endpoint.name)
    if body is not None:
        return create_model(body.__name__, __base__=(_Arguments, body), __doc__=body.__doc__, __module__=__name__)
    typed = invocation_forms(contract, max_batch)
    # A client walks into what is typed, and these two take several shapes.
    forms = {**typed, "instances": _RECORDS_OR_COLUMNS, "inputs": _RECORDS_OR_COLUMNS}
    fields: dict[str, Any] = {
        form: (Annotated[Any, WithJsonSchema(schema)], Field(default=None)) for form, schema in forms.items()
    }
    words = "One of MLflow's four JSON forms."
    return create_model("InvocationsRequest", __base__=_Arguments, __doc__=words, __module__=__name__, **fields)


def _without_references(schema: Json) -> Json:
    """Put what a JSON schema defines where it is used: BentoML follows references in some places only."""
    definitions = schema.pop("$defs", {})

    def put(part: Any) -> Any:
        if isinstance(part, list):
            return [put(each) for each in part]
        if not isinstance(part, dict):
            return part
        rest = {name: put(each) for name, each in part.items() if name != "$ref"}
        if "$ref" in part:
            return {**put(definitions[part["$ref"].rpartition("/")[2]]), **rest}
        return rest

    found: Json = put(schema)
    return found
