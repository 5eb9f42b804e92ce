"""What requests for one contract hold: join keys, values for on-demand views, values that replace looked-up ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

from pydantic import FailFast, Field, StrictStr, create_model

from contract import Key, ModelContract, OverrideError, RequestInput
from contract.feature_union import FeatureUnion
from contract.values.request_values import WHERE, asked_of, checked_inputs
from service.api.members.key_types import KEY_TYPES
from service.api.members.queries import history_query
from service.api.members.schemas import RequestBody, without_default
from service.errors import InvalidRequestError, RequestTooLargeError

_LIST: Any = list
"""Of a type that is known only when the contract has been read."""


class _BatchBody(RequestBody):
    """A body with `rows`."""

    def unknown_member(self) -> str | None:
        unknown = super().unknown_member()
        for at, row in enumerate(() if unknown is not None else getattr(self, "rows", None) or ()):
            if (member := row.unknown_member()) is not None:
                return f"rows.{at}.{member}"
        return unknown


class Asked(NamedTuple):
    """What one request asks for.

    given: request input → n values; None if no live model asks for any.
    """

    keys: Sequence[Key]
    given: Mapping[str, Sequence[Any]] | None


@dataclass(frozen=True)
class RequestBodies:
    """The bodies of requests to one contract's model.

    of_call: call → what its JSON body is parsed into, for the calls that have one.
    of_query: call → what its query is parsed into, for the calls that have one.
    key: body, row or query of one entity → its key.
    asked: values that requests give for on-demand views.
    keys: name of a batch's list of keys; empty if a list of keys does not say enough.
    has_rows: a batch may hold `rows`.
    """

    of_call: Mapping[str, type[RequestBody]]
    of_query: Mapping[str, type[RequestBody]]
    key: Callable[[Any], Key]
    asked: tuple[RequestInput, ...]
    keys: str
    has_rows: bool

    @classmethod
    def of(cls, contract: ModelContract, union: FeatureUnion, max_batch: int) -> "RequestBodies":
        """Make them.

        Args:
            union: what all live models read.
            max_batch: most rows of one batch.
        """
        join_keys, asked = contract.feature_schema.entity_keys, asked_of(union.request_inputs)
        fields = {f"key_{at}": key for at, key in enumerate(join_keys)}
        one: dict[str, Any] = {
            name: (KEY_TYPES[key.dtype].asked, Field(alias=key.join_key, examples=KEY_TYPES[key.dtype].examples[:1]))
            for name, key in fields.items()
        }
        if asked:
            one[WHERE] = (dict[StrictStr, Any] | None, Field(default=None, description="values for on-demand views"))
        overrides = Field(
            default=None, description="feature reference (view__feature) → value to use instead of the looked-up one"
        )
        features = {"features": (dict[StrictStr, Any] | None, overrides)}
        words = f"One {contract.entity}, optionally with values that replace looked-up features."
        single = len(join_keys) == 1
        listed = single and all(given.default is not None for given in asked)
        has_rows = not (single and join_keys[0].dtype == "string") or bool(asked)
        keys = f"{join_keys[0].join_key}s" if listed else ""
        row = _made("BatchRow", RequestBody, f"One {contract.entity} of a batch.", **one) if has_rows else None
        batch = _batch(contract, keys, row)
        if has_rows:
            batch.most_parts += 2 * max_batch
        return cls(
            {
                "predict": _made("PredictRequest", RequestBody, words, **one, **features),
                "predict_batch": batch,
                "features": batch,
                "explain": _made("ExplainRequest", RequestBody, "As a prediction is asked for.", **one, **features),
            },
            {"history": history_query(contract)},
            attrgetter(*fields),
            asked,
            keys,
            has_rows,
        )

    def given(self, body: Any) -> dict[str, Any] | None:
        """The request's values of one entity, defaults in the place of those that are left out.

        Raises:
            InvalidRequestError: one is missing, unknown or of another type; names it.
        """
        return self._checked(body.inputs, "") if self.asked else None

    def count(self, body: Any) -> int:
        """How many entities a batch has; 0 if `batch` refuses it for holding both lists or neither."""
        rows: Any = body.rows if self.has_rows else None
        listed: Any = body.keys if self.keys else None
        return 0 if (rows is None) == (listed is None) else len(rows if listed is None else listed)

    def batch(self, body: Any, most: int) -> Asked:
        """The entities of a batch.

        Args:
            most: so many at most.

        Raises:
            RequestTooLargeError: there are more.
            InvalidRequestError: as `given`; or the body holds both a list of keys and rows, or neither.
        """
        rows: Any = body.rows if self.has_rows else None
        listed: Any = body.keys if self.keys else None
        if (rows is None) == (listed is None):
            raise InvalidRequestError.at("rows", f"either {self.keys} or rows is needed, and not both")
        name, found = ("rows", rows) if listed is None else (self.keys, listed)
        if len(found) > most:
            what = "ids" if rows is None else "rows"
            raise RequestTooLargeError(f"{name}: at most {most} {what} in one batch", field=name)
        if rows is None:
            without = self._checked(None, "") if self.asked else {}
            return Asked(listed, {given: [value] * len(listed) for given, value in without.items()} or None)
        made = [self._checked(row.inputs, f"rows.{at}.") for at, row in enumerate(rows)] if self.asked else []
        columns = {given.name: [of_row[given.name] for of_row in made] for given in self.asked}
        return Asked([self.key(row) for row in rows], columns or None)

    def _checked(self, values: dict[str, Any] | None, where: str) -> dict[str, Any]:
        try:
            return checked_inputs(values or {}, self.asked)
        except OverrideError as error:
            raise InvalidRequestError.at(f"{where}{error.field}", str(error)) from None


def _made(name: str, base: type[RequestBody], words: str, **fields: Any) -> Any:
    return create_model(name, __base__=base, __doc__=words, __module__=__name__, **fields)


def _batch(contract: ModelContract, keys: str, row: Any) -> Any:
    """The body of a batch.

    Args:
        keys: name of its list of keys, if it may hold one.
        row: what its list of rows holds, if it may have one.
    """
    key = KEY_TYPES[contract.feature_schema.entity_keys[0].dtype]
    words = f"Many {contract.entity}s; the answer has one row each, in this order."
    # The first wrong entry ends it: collecting half a million errors of one body would hold up all others for seconds.
    listed, rows = Annotated[_LIST[key.asked], FailFast()], Annotated[_LIST[row], FailFast()]
    named: dict[str, Any] = {"alias": keys, "examples": [key.examples]}
    optional: dict[str, Any] = {"default": None, "json_schema_extra": without_default}
    if row is None:
        return _made("PredictBatchRequest", RequestBody, words, keys=(listed, Field(**named)))
    if not keys:
        return _made("PredictBatchRequest", _BatchBody, words, rows=(rows, ...))
    one_of = {"oneOf": [{"required": [keys]}, {"required": ["rows"]}]}
    base = _made("_EitherList", _BatchBody, words)
    base.model_config["json_schema_extra"] = {**base.model_config["json_schema_extra"], **one_of}
    fields = {"keys": (listed, Field(**named, **optional)), "rows": (rows, Field(**optional))}
    return _made("PredictBatchRequest", base, words, **fields)
