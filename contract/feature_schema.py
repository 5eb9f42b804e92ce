"""The features of one feature service as the registry describes them; readable without feast.

Training writes this schema into the contract. The service reads the live one at start-up (`contract.registry_schema`).
`differences` compares them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Dtype = Literal["bool", "int32", "int64", "float32", "float64", "string", "unixtimestamp"]
KeyDtype = Literal["string", "int32", "int64"]
Kind = Literal["numeric", "categorical", "age"]
StalePolicy = Literal["use_value", "use_default", "refuse"]
MissingPolicy = Literal["use_default", "refuse", "keep"]
UnseenPolicy = Literal["use_value", "use_default", "refuse"]


def content_sha256(document: str | bytes) -> str:
    """sha256 of a JSON document in canonical form: members sorted, no spaces.

    It hashes the document, not the parsed object: a newer version of this code may add members, and an old document
    must keep its hash.
    """
    canonical = json.dumps(json.loads(document), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Frozen(BaseModel):
    """Base class of the contract's models: immutable; an unknown member is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def sha256(self) -> str:
        """`content_sha256` of this object's JSON."""
        return content_sha256(self.model_dump_json())


class EntityKey(Frozen):
    """One join key of the entity, e.g. `user_id`."""

    join_key: str
    dtype: KeyDtype


class SourceView(Frozen):
    """A stored feature view, read by entity key.

    ttl_seconds: how long a row is valid after its event timestamp; None: until the next row.
    join_keys: the join keys that it is read by, in the order of `entity_keys`; None: all of them. Not in the document
        then.
    """

    name: str
    ttl_seconds: float | None
    join_keys: tuple[str, ...] | None = Field(default=None, exclude_if=lambda keys: keys is None)


class FeatureSpec(Frozen):
    """One feature as the registry describes it.

    name: feature reference `view__feature`, unique in the service; of an array's element `view__feature__0`.
    dtype: of the stored value; of an array, of its elements.
    sources: the stored views that the value is computed from: its own view, or those that its on-demand view reads.
    on_stale: policy for a source row older than its TTL.
    on_missing: policy for an absent row or a null value; `keep`: the model takes the null.
    default: the feature repository's default value; None if it has none.
    kind: what the model sees: the number, a category's code, or the seconds from a timestamp to the request's time.
    on_unseen: policy for a category that training did not see; `use_value`: the model sees that it is unseen.
    element: position in an array; None if it is not of one.
    The last three are not in the document where they have their default.
    """

    name: str
    dtype: Dtype
    view: str
    sources: tuple[str, ...]
    on_stale: StalePolicy = "use_default"
    on_missing: MissingPolicy = "use_default"
    default: float | str | None = None
    kind: Kind = Field(default="numeric", exclude_if=lambda kind: kind == "numeric")
    on_unseen: UnseenPolicy = Field(default="use_value", exclude_if=lambda policy: policy == "use_value")
    element: Annotated[int, Field(ge=0)] | None = Field(default=None, exclude_if=lambda element: element is None)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        kinds = KINDS[self.dtype]
        if self.kind not in kinds:
            raise ValueError(f"kind: a {self.dtype} feature is {' or '.join(kinds)}, not {self.kind}")
        if self.kind != "categorical" and self.on_unseen != "use_value":
            raise ValueError("on_unseen: only a category can be unseen")
        if isinstance(self.default, str) != (self.dtype == "string") and self.default is not None:
            raise ValueError(f"default: must be {'text' if self.dtype == 'string' else 'a number'}")
        return self

    @property
    def reference(self) -> str:
        """`view__feature`: the column of a point-in-time join, one for all elements of an array."""
        return self.name if self.element is None else self.name.removesuffix(f"__{self.element}")

    @property
    def field_name(self) -> str:
        """Name of the field without the view's name."""
        return self.reference.removeprefix(f"{self.view}__")


KINDS: dict[Dtype, tuple[Kind, ...]] = {
    "bool": ("numeric",),
    "int32": ("numeric", "categorical"),
    "int64": ("numeric", "categorical"),
    "float32": ("numeric",),
    "float64": ("numeric",),
    "string": ("categorical",),
    "unixtimestamp": ("age",),
}
"""What a model can see of a feature of each type; the first is meant where no tag `kind` says otherwise."""

MOST_ELEMENTS = 4096
"""Most elements of an array."""


def array_widths(features: Iterable[FeatureSpec]) -> dict[str, int]:
    """Reference of each array among all features of a service → its length."""
    return Counter(feature.reference for feature in features if feature.element is not None)


class RequestInput(Frozen):
    """A value that an on-demand view takes from the request, not from the store.

    filled_by: `request_time_unix_us` is the request's time, read once per request; `request` is a value that the client
        sends in `inputs`.
    default: stands in for a value that the client does not send; None: it must. Not in the document then.
    """

    name: str
    dtype: Dtype
    filled_by: Literal["request_time_unix_us", "request"]
    default: bool | int | float | str | None = Field(default=None, exclude_if=lambda default: default is None)


class FeatureSchema(Frozen):
    """Everything a model depends on in one feature service."""

    project: str
    feature_service: str
    entity_keys: tuple[EntityKey, ...]
    views: tuple[SourceView, ...]
    features: tuple[FeatureSpec, ...]
    request_inputs: tuple[RequestInput, ...]
    transformations: dict[str, str]
    """On-demand view → sha256 of its function's source."""


def differences(promised: FeatureSchema, live: FeatureSchema) -> list[str]:
    """Compare the promised schema with the live one.

    Additional live features are not a difference. Policies and defaults belong to the contract and are not compared.

    Returns:
        One sentence per difference; empty if the live registry keeps every promise.
    """
    found: list[str] = []
    if promised.project != live.project:
        found.append(f"project is {live.project!r}, the contract says {promised.project!r}")
    if promised.feature_service != live.feature_service:
        found.append(f"feature service is {live.feature_service!r}, the contract says {promised.feature_service!r}")
    if promised.entity_keys != live.entity_keys:
        found.append(f"join keys are {_keys(live.entity_keys)}, the contract says {_keys(promised.entity_keys)}")
    found += _changed(
        "feature",
        {f.name: {"dtype": f.dtype, "kind": f.kind, "sources": sorted(f.sources)} for f in promised.features},
        {f.name: {"dtype": f.dtype, "kind": f.kind, "sources": sorted(f.sources)} for f in live.features},
    )
    found += _changed(
        "feature view",
        {v.name: {"ttl_seconds": v.ttl_seconds, "join_keys": v.join_keys} for v in promised.views},
        {v.name: {"ttl_seconds": v.ttl_seconds, "join_keys": v.join_keys} for v in live.views},
    )
    by_name = {r.name: {"dtype": r.dtype, "filled_by": r.filled_by} for r in live.request_inputs}
    promised_inputs = {r.name: {"dtype": r.dtype, "filled_by": r.filled_by} for r in promised.request_inputs}
    found += _changed("request input", promised_inputs, by_name)
    found += [
        f"request input {name!r} is required by the registry but not in the contract"
        for name in sorted(by_name.keys() - promised_inputs.keys())
    ]
    found += _changed(
        "on-demand view",
        {n: {"source sha256": h} for n, h in promised.transformations.items()},
        {n: {"source sha256": h} for n, h in live.transformations.items()},
    )
    return found


def _keys(keys: Iterable[EntityKey]) -> str:
    return "[" + ", ".join(f"{k.join_key}: {k.dtype}" for k in keys) + "]"


def _changed(
    kind: str,
    promised: Mapping[str, Mapping[str, object]],
    live: Mapping[str, Mapping[str, object]],
) -> list[str]:
    found = []
    for name, facts in promised.items():
        if name not in live:
            found.append(f"{kind} {name!r} is not in the registry")
            continue
        found += [
            f"{kind} {name!r}: {fact} is {live[name][fact]!r}, the contract says {value!r}"
            for fact, value in facts.items()
            if live[name][fact] != value
        ]
    return found
