"""The errors of a request; each class has its HTTP status and code.

ServiceError
├── InvalidRequestError          400  the body, an id or an override is wrong; `field` names it
├── UnauthenticatedError         401  no API key, or one that is not valid
├── UnknownEntityError           404  no feature view has a row of this key
├── NotFoundError                404  no such path
├── MethodNotAllowedError        405  the path takes another method
├── RequestTooLargeError         413  body or batch over its limit
├── UnsupportedMediaTypeError    415  a content type that this call does not read
├── FeaturesRefusedError         422  the contract forbids scoring with features in this state
├── OverloadedError              429  over the concurrency limit
├── QuotaExceededError           429  over the quota of its API key
├── NotExplainableError          501  predictions of this model cannot be taken apart exactly
├── ExplainerUnavailableError    503  what explanations need cannot be read just now
├── OnlineStoreUnavailableError  503  the online store refused, broke off or answered nonsense
└── DeadlineExceededError        503  the online store did not answer in time
StartupError                          the process must not start; never reaches a client
"""

from typing import ClassVar, Self


class ServiceError(Exception):
    """An error that the client is told.

    Args:
        message: for the client; it names fields and limits, never feature values or addresses.
        field: the member of the request that is wrong.
        model: identity of the model that caused it; None: the champion.
    """

    status: ClassVar[int]
    code: str
    retry_after_seconds: int | None = None

    def __init__(self, message: str, field: str | None = None, model: dict[str, str] | None = None) -> None:
        self.message = message
        self.field = field
        self.model = model
        super().__init__(message)


class InvalidRequestError(ServiceError):
    """The body is malformed; `field` says where."""

    status = 400
    code = "invalid_request"

    @classmethod
    def at(cls, path: str, what: str) -> Self:
        """What is wrong with the member at a path of the body, which the message begins with."""
        return cls(f"{path}: {what}", field=path)


class UnauthenticatedError(ServiceError):
    """No API key was presented, or one that is not valid; the answer carries `WWW-Authenticate: Bearer`."""

    status = 401
    code = "unauthenticated"


class UnknownEntityError(ServiceError):
    """No feature view has a row of this key. The code names the contract's entity."""

    status = 404
    code = "unknown_<entity>"

    def __init__(self, entity: str, join_keys: str, model: dict[str, str] | None = None) -> None:
        super().__init__(f"no features are stored for this {entity}", field=join_keys, model=model)
        self.code = self.code.replace("<entity>", entity)


class NotFoundError(ServiceError):
    """There is nothing at this path."""

    status = 404
    code = "not_found"


class MethodNotAllowedError(ServiceError):
    """The path takes another method."""

    status = 405
    code = "method_not_allowed"


class RequestTooLargeError(ServiceError):
    """The body or the batch is over its limit."""

    status = 413
    code = "too_large"


class UnsupportedMediaTypeError(ServiceError):
    """The body's content type is none that the call reads."""

    status = 415
    code = "unsupported_media_type"


class EncodedBodyError(UnsupportedMediaTypeError):
    """The body is compressed; the answer carries `Accept-Encoding: identity`."""


class FeaturesRefusedError(ServiceError):
    """The contract forbids scoring this entity with features in their present state."""

    status = 422
    code = "features_refused"


class OverloadedError(ServiceError):
    """More requests at once than the service takes."""

    status = 429
    code = "overloaded"
    retry_after_seconds = 1


class QuotaExceededError(ServiceError):
    """The quota of the API key is used up."""

    status = 429
    code = "quota_exceeded"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NotExplainableError(ServiceError):
    """The served model has no exact explanation, or its pipeline is not there to compute one."""

    status = 501
    code = "not_explainable"


class ExplainerUnavailableError(ServiceError):
    """The pipeline, or a library that it needs, could not be read; the next request tries again."""

    status = 503
    code = "explainer_unavailable"
    retry_after_seconds = 1


class OnlineStoreUnavailableError(ServiceError):
    """The online store could not be read."""

    status = 503
    code = "online_store_unavailable"
    retry_after_seconds = 1


class DeadlineExceededError(ServiceError):
    """The online store did not answer before the request's deadline."""

    status = 503
    code = "deadline_exceeded"
    retry_after_seconds = 1


class StartupError(Exception):
    """The process must not start; the message says why and what to do."""
