"""Bodies of requests and answers for one contract: its keys, outputs and task give the members their names and types.

Members whose names the contract gives are fields with an alias: a name may be one that pydantic keeps for itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, StrictStr, StringConstraints, create_model
from pydantic.json_schema import SkipJsonSchema

from contract import ModelContract, MulticlassTask
from contract.feature_schema import KeyDtype
from scoring.explanation import Space
from scoring.outcomes import statuses_of
from service.api.explanations import names_space
from service.api.schemas import (
    Contribution,
    FeatureIssueBody,
    Model,
    ModelResponse,
    RequestId,
    without_default,
)
from service.api.task_answers import TaskAnswers, task_answers
from service.prediction.predictions import row_members

TextKey = Annotated[StrictStr, StringConstraints(min_length=1, max_length=256)]
_KEYS: dict[KeyDtype, tuple[Any, list[str]]] = {"string": (TextKey, ["00042", "00007"])}
"""Type of a join key → its JSON type, and examples."""

_Model = Model | SkipJsonSchema[None]
_LIST: Any = list
_ONE_OF: Any = Literal
"""Of types and values that are known only when the contract has been read."""


class RequestBody(BaseModel):
    """A JSON body. Unknown members are refused by `parse`, one at a time: pydantic would collect an error for each."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})


class PredictRequest(RequestBody):
    """Body of `POST /predict`. `key` has the name and type of the contract's join key."""

    key: Any
    features: dict[StrictStr, Any] | None = Field(
        default=None, description="feature reference (view__feature) → value to use instead of the looked-up one"
    )


class PredictBatchRequest(RequestBody):
    """Body of `POST /predict_batch`. `keys` is named after the contract's join key."""

    keys: Any


class ExplainRequest(PredictRequest):
    """As a prediction is asked for."""


@dataclass(frozen=True)
class Bodies:
    """The bodies of one contract.

    requests: call → what its JSON body is parsed into, for the calls that have one.
    answers: call → body of its 200.
    members: of one prediction, in its order.
    keys: name of a batch's list of join keys.
    task: what the answers of the contract's task look like.
    """

    requests: Mapping[str, type[RequestBody]]
    answers: Mapping[str, type[BaseModel]]
    members: tuple[str, ...]
    keys: str
    task: TaskAnswers

    @classmethod
    def of(cls, contract: ModelContract) -> "Bodies":
        """Make them."""
        task, keys = task_answers(contract.task), f"{contract.join_key}s"
        prediction = _prediction(contract, task)
        answers = {
            "predict": _made("PredictResponse", prediction, "Answer of `POST /predict`.", **_IDENTIFIED),
            "predict_batch": _predict_batch(contract, prediction),
            "invocations": _made(
                "InvocationsResponse", BaseModel, task.invocations, predictions=(_LIST[task.invocation], ...)
            ),
            "model": _model(contract),
        }
        answers["explain"] = _explain(contract, answers["predict"], task)
        return cls(_requests(contract, keys), answers, row_members(contract), keys, task)


_IDENTIFIED: dict[str, Any] = {"request_id": (RequestId, ...), "model": (Model, ...)}


def _made(name: str, base: type[BaseModel], words: str | None, **fields: Any) -> Any:
    return create_model(name, __base__=base, __doc__=words, __module__=__name__, **fields)


def _requests(contract: ModelContract, keys: str) -> dict[str, type[RequestBody]]:
    entity, (key,) = contract.entity, contract.feature_schema.entity_keys
    kind, examples = _KEYS[key.dtype]
    one = (kind, Field(alias=key.join_key, examples=examples[:1]))
    words = f"One {entity}, optionally with values that replace looked-up features."
    # The first wrong key ends it: collecting half a million errors of one body would hold up all others for seconds.
    many = (Annotated[_LIST[kind], FailFast()], Field(alias=keys, examples=[examples]))
    return {
        "predict": _made("PredictRequest", PredictRequest, words, key=one),
        "predict_batch": _made(
            "PredictBatchRequest",
            PredictBatchRequest,
            f"Many {entity}s; the answer has one row each, in this order.",
            keys=many,
        ),
        "explain": _made("ExplainRequest", ExplainRequest, ExplainRequest.__doc__, key=one),
    }


def _prediction(contract: ModelContract, task: TaskAnswers) -> Any:
    outputs = {
        f"output_{at}": (kind | None, Field(alias=output.name))
        for at, (output, kind) in enumerate(zip(contract.outputs, task.outputs, strict=True))
    }
    cached = Field(description="how long ago the features were read, if last known good ones stand in; else null")
    return _made(
        "PredictionBody",
        BaseModel,
        f"The answer for one {contract.entity}.",
        key=(str, Field(alias=contract.join_key)),
        **outputs,
        status=(_ONE_OF[statuses_of(contract)], ...),
        feature_issues=(list[FeatureIssueBody], ...),
        cached_seconds=(Annotated[float, Field(ge=0)] | None, cached),
    )


def _predict_batch(contract: ModelContract, prediction: Any) -> Any:
    other = Field(
        default=None,
        description="the model that answered, where it is not the one that the response names",
        json_schema_extra=without_default,
    )
    words = f"One {contract.entity}'s row in a batch."
    row = _made("BatchPrediction", prediction, words, model=(_Model, other))
    return _made(
        "PredictBatchResponse",
        BaseModel,
        "Answer of `POST /predict_batch`.",
        **_IDENTIFIED,
        predictions=(_LIST[row], ...),
    )


def _explain(contract: ModelContract, predict: Any, task: TaskAnswers) -> Any:
    words = "Answer of `POST /explain`: `base_value` and all contributions add up to "
    members: dict[str, Any] = {"base_value": (float, ...), "contributions": (list[Contribution], ...)}
    if not names_space(contract):
        return _made("ExplainResponse", predict, f"{words}the log-odds of `{contract.outputs[0].name}`.", **members)
    members["space"] = (Space, Field(description="what they add up to, by the model's own arithmetic"))
    if isinstance(contract.task, MulticlassTask):
        members["explained_class"] = (task.outputs[1], Field(description="whose score it is: the answered class"))
    return _made("ExplainResponse", predict, f"{words}the model's score.", **members)


def _model(contract: ModelContract) -> Any:
    written: Any = (type(contract.written), ...)  # the version of the document that `GET /model` answers
    return _made("ModelResponse", ModelResponse, ModelResponse.__doc__, contract=written)
