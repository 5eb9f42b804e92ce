"""What answers say of single features: bodies of issues and contributions for the inputs of the live models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import create_model

from contract import FeatureInput
from service.api.members.schemas import Contribution, FeatureIssueBody

_ONE_OF: Any = Literal
"""Of words that are known only when the contract has been read."""


@dataclass(frozen=True)
class FeatureMembers:
    """Bodies of one feature issue and of one contribution."""

    issue: type[FeatureIssueBody]
    contribution: type[Contribution]

    @classmethod
    def of(cls, inputs: Sequence[FeatureInput]) -> "FeatureMembers":
        """Only where an input can be unseen or a null, they say so."""
        categories, nulls = _categories(inputs), any(given.on_missing == "keep" for given in inputs)
        issue: dict[str, Any] = {}
        contribution: dict[str, Any] = {}
        if categories:
            issue["state"] = (_ONE_OF["stale", "missing", "overridden", "unseen"], ...)
            contribution["state"] = (_ONE_OF["fresh", "stale", "missing", "overridden", "unseen"], ...)
        if nulls:
            issue["used"] = (_ONE_OF["value", "default", "null"] | None, ...)
        if categories or nulls:
            contribution["value"] = (_value(categories, nulls), ...)
        return cls(_with(FeatureIssueBody, issue), _with(Contribution, contribution))


def _categories(inputs: Sequence[FeatureInput]) -> set[type]:
    """Types of the categories."""
    return {str if given.dtype == "string" else int for given in inputs if given.codes is not None}


def _value(categories: set[type], nulls: bool) -> Any:
    value: Any = float
    if categories:
        value = value | str  # also of whole numbers: what is unseen has a text
    return value | None if nulls else value


def _with(body: Any, members: dict[str, Any]) -> Any:
    """The body with other types of some members; the same if there are none."""
    return create_model(body.__name__, __base__=body, __doc__=body.__doc__, **members) if members else body
