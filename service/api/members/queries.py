"""Queries of calls without a body, and the answers to them."""

from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import AwareDatetime, BaseModel, Field, create_model

from contract import ModelContract
from contract.tasks import RESERVED_JOIN_KEYS, RESERVED_NAMES, RESERVED_OUTPUTS
from service.api.members.key_types import KEY_TYPES
from service.api.members.schemas import RequestBody, RequestId, validated
from service.api.members.task_answers import TaskAnswers
from service.errors import InvalidRequestError

Query = TypeVar("Query", bound=RequestBody)
MOST_ANSWERS = 100
"""Most answers of `GET /history`."""
_MOST_PARAMETERS = 50
_LIST: Any = list
"""Of a type that is known only when the contract has been read."""


def parse_query(expected: type[Query], query: bytes) -> Query:
    """Read the part of a URL behind the question mark.

    Raises:
        InvalidRequestError: names the first parameter that is wrong, and never repeats its value.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:  # also of bytes that are no text
        raise InvalidRequestError("the query is not name=value pairs between &, percent-encoded UTF-8") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise InvalidRequestError.at(name[:200], "is given twice")
        values[name] = value
    return validated(lambda: expected.model_validate(values))


def why_no_history(contract: ModelContract) -> str:
    """Why `GET /history` cannot be offered: a name of the model's is one of its own. Empty if it can be.

    Training refuses such names; models of before may have them.
    """
    keys = {key.join_key for key in contract.feature_schema.entity_keys} & (RESERVED_JOIN_KEYS - RESERVED_NAMES)
    outputs = {output.name for output in contract.outputs} & (RESERVED_OUTPUTS - RESERVED_NAMES)
    met = [f"a parameter {name}" for name in sorted(keys)] + [f"a member {name}" for name in sorted(outputs)]
    return f"GET /history has {met[0]} of its own" if met else ""


def history_query(contract: ModelContract) -> Any:
    """The query of `GET /history`: every join key, and how many answers."""
    keys: dict[str, Any] = {
        f"key_{at}": (KEY_TYPES[key.dtype].asked, Field(alias=key.join_key, examples=KEY_TYPES[key.dtype].examples[:1]))
        for at, key in enumerate(contract.feature_schema.entity_keys)
    }
    most = Field(default=20, ge=1, le=MOST_ANSWERS, description="most answers")
    words = f"Asks what was answered for one {contract.entity}."
    return create_model(
        "HistoryQuery", __base__=RequestBody, __doc__=words, __module__=__name__, **keys, limit=(int, most)
    )


def history_answer(contract: ModelContract, task: TaskAnswers, identified: dict[str, Any]) -> Any:
    """The answer of `GET /history`.

    Args:
        identified: members that every answer has.
    """
    outputs: dict[str, Any] = {
        f"output_{at}": (kind | None, Field(alias=output.name))
        for at, (output, kind) in enumerate(zip(contract.outputs, task.outputs, strict=True))
    }
    shadow = create_model(
        "LoggedShadow",
        __doc__="What a shadow computed of the same request.",
        __module__=__name__,
        model_version=(str, ...),
        **outputs,
    )
    answered = create_model(
        "LoggedAnswer",
        __doc__=f"What was answered for the {contract.entity} before.",
        __module__=__name__,
        time=(AwareDatetime, Field(description="of the request")),
        request_id=(RequestId, ...),
        model_version=(str, ...),
        **outputs,
        status=(str, ...),
        role=(str, ...),
        shadow=(shadow | None, Field(description="null if none did, or it has not been written")),
    )
    newest = Field(description="newest first")
    complete = Field(description="false if the log was not searched to its end, or a part of it cannot be read")
    return create_model(
        "HistoryResponse",
        __base__=BaseModel,
        __doc__="Answer of `GET /history`.",
        __module__=__name__,
        **identified,
        answers=(Annotated[_LIST[answered], newest], ...),
        complete=(Annotated[bool, complete], ...),
    )
