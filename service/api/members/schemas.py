"""Bodies that are the same for every contract, and how a request body is parsed; `bodies.py` has the others."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.json_schema import SkipJsonSchema

from contract import ModelContract
from contract.validation import first_problem
from service.api.body_work import refuse_many_parts
from service.api.exchange import REQUEST_ID
from service.api.members.task_answers import Probability
from service.errors import InvalidRequestError

Body = TypeVar("Body", bound="RequestBody")
RequestId = Annotated[str, StringConstraints(pattern=f"^{REQUEST_ID}$")]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


def without_default(schema: dict[str, Any]) -> None:
    """For a member that is left out rather than null."""
    del schema["default"]


class RequestBody(BaseModel):
    """A JSON body. Unknown members are refused by `parse`, one at a time: pydantic would collect an error for each.

    most_parts: lists and objects that it may hold; more are not parsed. Most bodies have two, and what is wrong is
        still named where there are some more.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})
    most_parts: ClassVar[int] = 1000

    def unknown_member(self) -> str | None:
        """Path of the first member that the body does not have."""
        return next(iter(self.model_extra)) if self.model_extra else None


class Model(BaseModel):
    """The model that answered."""

    name: str
    version: str
    role: str


class FeatureIssueBody(BaseModel):
    """A feature that was not simply fresh."""

    feature: str
    state: Literal["stale", "missing", "overridden"]
    age_seconds: float | None
    used: Literal["value", "default"] | None


class Contribution(BaseModel):
    """What one feature adds to the model's score, and what the model saw of it."""

    feature: str
    view: str
    contribution: float
    value: float
    age_seconds: float | None
    state: Literal["fresh", "stale", "missing", "overridden"]


class ChallengerBody(BaseModel):
    """A second model that is live: a `shadow` answers nobody, a `canary` its share of the entities."""

    tag: str
    version: str
    contract_sha256: Sha256
    mode: Literal["shadow", "canary"]
    share: Probability | None = Field(description="of a canary")


class RuntimeBody(BaseModel):
    """What the model runs on: `onnx`, or `scikit-learn` and why it could not be compiled."""

    name: Literal["onnx", "scikit-learn"]
    reason: str | None


class ReleaseBody(BaseModel):
    """What this process runs: null is what it cannot know, as when it serves from the source tree."""

    version: str | None
    commit: str | None
    bento: str | None
    image: str | None


class ModelResponse(BaseModel):
    """Answer of `GET /model`."""

    request_id: RequestId
    model: Model
    tag: str
    contract_sha256: Sha256
    contract: ModelContract
    challenger: ChallengerBody | None
    release: ReleaseBody


class ErrorDetail(BaseModel):
    """What went wrong, for people (`message`) and programs (`code`, `field`)."""

    code: str
    message: str
    request_id: RequestId
    field: str | SkipJsonSchema[None] = Field(
        default=None, description="the member that is wrong; absent if it is none", json_schema_extra=without_default
    )


class ErrorResponse(BaseModel):
    """Body of every answer that is not 200."""

    error: ErrorDetail
    request_id: RequestId
    model: Model


def parse(body: type[Body], raw: bytes) -> Body:
    """Read a request body.

    Raises:
        InvalidRequestError: names the first member that is wrong, and never repeats its value; or says that the
            body holds more lists and objects than any right one.
    """
    refuse_many_parts(raw, body.most_parts)
    return validated(lambda: body.model_validate_json(raw))


def validated(read: Callable[[], Body]) -> Body:
    """What a request holds. Raises as `parse`."""
    try:
        parsed = read()
    except ValidationError as error:
        problem = first_problem(error)
        where = problem.where[:200]  # a member's name is the client's own text
        what = problem.what.replace("Invalid JSON: ", "body is not valid JSON: ", 1)  # with line and column
        raise InvalidRequestError(f"{where}: {what}" if where else what, field=where or None) from None
    if (unknown := parsed.unknown_member()) is not None:
        unknown = unknown[:200]
        raise InvalidRequestError(f"{unknown}: Extra inputs are not permitted", field=unknown)
    return parsed
