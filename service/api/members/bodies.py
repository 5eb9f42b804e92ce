"""Bodies of requests and answers for one contract: its keys, outputs and task give the members their names and types.

Members whose names the contract gives are fields with an alias: a name may be one that pydantic keeps for itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import SkipJsonSchema

from contract import ModelContract, MulticlassTask
from contract.feature_union import FeatureUnion
from scoring.explanation import Space
from scoring.outcomes import statuses_of
from service.api.members.explanations import names_space
from service.api.members.feature_members import FeatureMembers
from service.api.members.feature_rows import FeatureRows
from service.api.members.key_types import KEY_TYPES
from service.api.members.queries import history_answer
from service.api.members.request_bodies import RequestBodies
from service.api.members.schemas import (
    Model,
    ModelResponse,
    RequestId,
    RuntimeBody,
    without_default,
)
from service.api.members.task_answers import TaskAnswers, task_answers
from service.prediction.predictions import row_members

_Model = Model | SkipJsonSchema[None]
_LIST: Any = list
_ONE_OF: Any = Literal
"""Of types and values that are known only when the contract has been read."""


@dataclass(frozen=True)
class Bodies:
    """The bodies of one contract.

    requests: what the calls take.
    answers: call → body of its 200.
    members: of one prediction, in its order.
    task: what the answers of the contract's task look like.
    features: writes the rows of `POST /features`.
    """

    requests: RequestBodies
    answers: Mapping[str, type[BaseModel]]
    members: tuple[str, ...]
    task: TaskAnswers
    features: FeatureRows

    @classmethod
    def of(cls, contract: ModelContract, union: FeatureUnion | None = None, max_batch: int = 1000) -> "Bodies":
        """Make them.

        Args:
            union: what all live models read; None: what this one does.
        """
        union = union or FeatureUnion.of(contract)
        task, features = task_answers(contract.task), FeatureMembers.of(union.features)
        prediction, rows = _prediction(contract, task, features), FeatureRows(contract)
        answers = {
            "predict": _made("PredictResponse", prediction, "Answer of `POST /predict`.", **_IDENTIFIED),
            "predict_batch": _predict_batch(contract, prediction),
            "features": _made(
                "FeaturesResponse",
                BaseModel,
                "Answer of `POST /features`.",
                **_IDENTIFIED,
                rows=(_LIST[rows.body], ...),
            ),
            "invocations": _made(
                "InvocationsResponse", BaseModel, task.invocations, predictions=(_LIST[task.invocation], ...)
            ),
            "model": _model(contract),
        }
        answers["history"] = history_answer(contract, task, _IDENTIFIED)
        answers["explain"] = _explain(contract, answers["predict"], task, features)
        return cls(RequestBodies.of(contract, union, max_batch), answers, row_members(contract), task, rows)


_IDENTIFIED: dict[str, Any] = {"request_id": (RequestId, ...), "model": (Model, ...)}


def _made(name: str, base: type[BaseModel], words: str | None, **fields: Any) -> Any:
    return create_model(name, __base__=base, __doc__=words, __module__=__name__, **fields)


def _prediction(contract: ModelContract, task: TaskAnswers, features: FeatureMembers) -> Any:
    keys = {
        f"key_{at}": (KEY_TYPES[key.dtype].answered, Field(alias=key.join_key))
        for at, key in enumerate(contract.feature_schema.entity_keys)
    }
    outputs = {
        f"output_{at}": (kind | None, Field(alias=output.name))
        for at, (output, kind) in enumerate(zip(contract.outputs, task.outputs, strict=True))
    }
    cached = Field(description="how long ago the features were read, if last known good ones stand in; else null")
    return _made(
        "PredictionBody",
        BaseModel,
        f"The answer for one {contract.entity}.",
        **keys,
        **outputs,
        status=(_ONE_OF[statuses_of(contract)], ...),
        feature_issues=(_LIST[features.issue], ...),
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


def _explain(contract: ModelContract, predict: Any, task: TaskAnswers, features: FeatureMembers) -> Any:
    words = "Answer of `POST /explain`: `base_value` and all contributions add up to "
    members: dict[str, Any] = {"base_value": (float, ...), "contributions": (_LIST[features.contribution], ...)}
    if not names_space(contract):
        return _made("ExplainResponse", predict, f"{words}the log-odds of `{contract.outputs[0].name}`.", **members)
    members["space"] = (Space, Field(description="what they add up to, by the model's own arithmetic"))
    if isinstance(contract.task, MulticlassTask):
        members["explained_class"] = (task.outputs[1], Field(description="whose score it is: the answered class"))
    return _made("ExplainResponse", predict, f"{words}the model's score.", **members)


def _model(contract: ModelContract) -> Any:
    written: Any = (type(contract.written), ...)  # the version of the document that `GET /model` answers
    members = {"runtime": (RuntimeBody, ...)} if names_runtime(contract) else {}
    return _made("ModelResponse", ModelResponse, ModelResponse.__doc__, contract=written, **members)


def names_runtime(contract: ModelContract) -> bool:
    """True if `GET /model` says what the model runs on. Under version 1 it does not."""
    return contract.written.schema_version > 1
