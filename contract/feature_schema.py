"""The features of one feature service as the registry describes them; readable without feast.

Training writes this schema into the contract. The service reads the live one at start-up. `differences` compares them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from contract.errors import ContractError
from contract.validation import first_problem

Dtype = Literal["bool", "int32", "int64", "float32", "float64"]
KeyDtype = Literal["string", "int32", "int64"]
StalePolicy = Literal["use_value", "use_default", "refuse"]
MissingPolicy = Literal["use_default", "refuse"]


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
    """

    name: str
    ttl_seconds: float | None


class FeatureSpec(Frozen):
    """One feature as the registry describes it.

    name: feature reference `view__feature`, unique in the service.
    sources: the stored views that the value is computed from: its own view, or those that its on-demand view reads.
    on_stale: policy for a source row older than its TTL.
    on_missing: policy for an absent row or a null value.
    default: the feature repository's default value; None if it has none.
    """

    name: str
    dtype: Dtype
    view: str
    sources: tuple[str, ...]
    on_stale: StalePolicy = "use_default"
    on_missing: MissingPolicy = "use_default"
    default: float | None = None

    @property
    def field_name(self) -> str:
        """Name of the field without the view's name."""
        return self.name.removeprefix(f"{self.view}__")


class RequestInput(Frozen):
    """A value that an on-demand view takes from the request, not from the store.

    filled_by: `request_time_unix_us` is the request's time, read once per request.
    """

    name: str
    dtype: Dtype
    filled_by: Literal["request_time_unix_us"]


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
        {f.name: {"dtype": f.dtype, "sources": sorted(f.sources)} for f in promised.features},
        {f.name: {"dtype": f.dtype, "sources": sorted(f.sources)} for f in live.features},
    )
    found += _changed(
        "feature view",
        {v.name: {"ttl_seconds": v.ttl_seconds} for v in promised.views},
        {v.name: {"ttl_seconds": v.ttl_seconds} for v in live.views},
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


class FeatureRegistry(Protocol):
    """The part of Feast's registry that is read here, so that this room does not import feast."""

    def get_feature_service(self, name: str, project: str) -> Any: ...
    def get_feature_view(self, name: str, project: str) -> Any: ...
    def get_on_demand_feature_view(self, name: str, project: str) -> Any: ...


def read_feature_schema(registry: FeatureRegistry, project: str, feature_service: str) -> FeatureSchema:
    """Read the schema of one feature service from a Feast registry.

    Features come in the feature service's order: views as listed, fields as declared.

    Args:
        registry: Feast's registry, or any object with its three getters.

    Raises:
        ContractError: a feature's type is not supported; an on-demand view reads a stored view that the service does
            not list, so its age is unknown; a field's tag is invalid; or a request input lacks its `filled_by` tag.
    """
    service = registry.get_feature_service(feature_service, project)
    stored: dict[str, Any] = {}
    on_demand: dict[str, Any] = {}
    features: list[FeatureSpec] = []
    for projection in service.feature_view_projections:
        name = projection.name
        try:
            stored[name] = registry.get_feature_view(name, project)
            sources: tuple[str, ...] = (name,)
        except Exception as missing:  # feast has one class per object type; this room imports none
            try:
                on_demand[name] = registry.get_on_demand_feature_view(name, project)
            except Exception:
                raise ContractError(
                    f"feature service {feature_service!r} lists view {name!r}, which the registry does not have"
                ) from missing
            sources = tuple(p.name for p in on_demand[name].source_feature_view_projections.values())
        features += [_feature(projection.name_to_use(), field, sources) for field in projection.features]

    for name, view in on_demand.items():
        for projection in view.source_feature_view_projections.values():
            if projection.name not in stored:
                raise ContractError(
                    f"on-demand view {name!r} reads {projection.name!r}, which feature service "
                    f"{feature_service!r} does not list: the age of its values could not be known"
                )
    return FeatureSchema(
        project=project,
        feature_service=feature_service,
        entity_keys=_entity_keys(stored.values()),
        views=tuple(
            SourceView(name=name, ttl_seconds=view.ttl.total_seconds() if view.ttl else None)
            for name, view in stored.items()
        ),
        features=tuple(features),
        request_inputs=_request_inputs(on_demand.values()),
        transformations={
            name: hashlib.sha256(view.feature_transformation.udf_string.encode()).hexdigest()
            for name, view in sorted(on_demand.items())
        },
    )


def _feature(view: str, field: Any, sources: tuple[str, ...]) -> FeatureSpec:
    name = f"{view}__{field.name}"
    tags = {key: field.tags[key] for key in ("on_stale", "on_missing", "default") if key in field.tags}
    try:
        return FeatureSpec.model_validate(
            {"name": name, "dtype": _dtype(field), "view": view, "sources": sources, **tags}
        )
    except ValidationError as error:
        problem = first_problem(error, with_value=True)
        raise ContractError(f"feature {name!r}: {problem.where}: {problem.what} (got {problem.value!r})") from None


def _dtype(field: Any) -> str:
    return str(field.dtype).lower()


def _entity_keys(views: Iterable[Any]) -> tuple[EntityKey, ...]:
    keys = {column.name: _dtype(column) for view in views for column in view.entity_columns}
    try:
        return tuple(EntityKey.model_validate({"join_key": k, "dtype": d}) for k, d in keys.items())
    except ValidationError as error:
        raise ContractError(f"join keys {sorted(keys)}: {first_problem(error).what}") from None


def _request_inputs(views: Iterable[Any]) -> tuple[RequestInput, ...]:
    inputs: dict[str, RequestInput] = {}
    for view in views:
        for source in view.source_request_sources.values():
            for field in source.schema:
                try:
                    inputs[field.name] = RequestInput.model_validate(
                        {
                            "name": field.name,
                            "dtype": _dtype(field),
                            "filled_by": field.tags.get("filled_by"),
                        }
                    )
                except ValidationError:
                    raise ContractError(
                        f"request input {field.name!r} of {view.name!r} needs the tag "
                        "filled_by=request_time_unix_us and a numeric type"
                    ) from None
    return tuple(inputs.values())
