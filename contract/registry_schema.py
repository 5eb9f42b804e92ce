"""Reads the schema of a feature service from a Feast registry, without importing feast."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from contract.errors import ContractError
from contract.feature_schema import (
    KINDS,
    MOST_ELEMENTS,
    Dtype,
    EntityKey,
    FeatureSchema,
    FeatureSpec,
    RequestInput,
    SourceView,
)
from contract.validation import first_problem
from contract.values.request_values import python_value

_TAGS = ("on_stale", "on_missing", "default", "kind", "on_unseen")
"""Tags of a field that are members of `FeatureSpec`."""
_WITHOUT_ENTITY = "__dummy"
"""What Feast names as the entity of a view without one."""
_ARRAYS: Mapping[str, Dtype] = {"array(float32)": "float32", "array(float64)": "float64"}


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
            not list, so its age is unknown; a field's tag is invalid; a request input
            cannot be given by a request; or a view has no entity.
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
        for field in projection.features:
            features += _features(projection.name_to_use(), field, sources)

    for name, view in on_demand.items():
        for projection in view.source_feature_view_projections.values():
            if projection.name not in stored:
                raise ContractError(
                    f"on-demand view {name!r} reads {projection.name!r}, which feature service "
                    f"{feature_service!r} does not list: the age of its values could not be known"
                )
    for name, view in stored.items():
        if not view.entities or _WITHOUT_ENTITY in view.entities:
            raise ContractError(f"feature view {name!r} has no entity, so no key tells which row is meant; give it one")
    entity_keys = _entity_keys(stored.values())
    return FeatureSchema(
        project=project,
        feature_service=feature_service,
        entity_keys=entity_keys,
        views=tuple(
            SourceView(
                name=name,
                ttl_seconds=view.ttl.total_seconds() if view.ttl else None,
                join_keys=_own_keys(view, entity_keys),
            )
            for name, view in stored.items()
        ),
        features=tuple(features),
        request_inputs=_request_inputs(on_demand.values()),
        transformations={
            name: hashlib.sha256(view.feature_transformation.udf_string.encode()).hexdigest()
            for name, view in sorted(on_demand.items())
        },
    )


def _features(view: str, field: Any, sources: tuple[str, ...]) -> list[FeatureSpec]:
    """The features of one field: one, or one per element of an array."""
    name = f"{view}__{field.name}"
    dtype = _dtype(field)
    elements: Iterable[int | None] = (None,)
    if (of_array := _ARRAYS.get(dtype)) is not None:
        dtype, elements = of_array, range(_width(name, field))
    tags = {key: field.tags[key] for key in _TAGS if key in field.tags}
    if dtype not in KINDS:
        raise ContractError(
            f"feature {name!r}: dtype: a model cannot take {field.dtype}; compute one of {', '.join(KINDS)} from it in "
            "an on-demand view"
        )
    if dtype != "string" and "default" in tags:
        tags["default"] = _number(name, tags["default"])
    described = {"dtype": dtype, "kind": KINDS[dtype][0], "view": view, "sources": sources, **tags}
    try:
        return [
            FeatureSpec.model_validate(
                {**described, "name": name if element is None else f"{name}__{element}", "element": element}
            )
            for element in elements
        ]
    except ValidationError as error:
        problem = first_problem(error, with_value=True)
        what = f"{problem.where}: {problem.what} (got {problem.value!r})" if problem.where else problem.what
        raise ContractError(f"feature {name!r}: {what}") from None


def _number(name: str, tag: str) -> float:
    try:
        return float(tag)
    except ValueError:
        raise ContractError(f"feature {name!r}: default: must be a number (got {tag!r})") from None


def _width(name: str, field: Any) -> int:
    tag = field.tags.get("width", "")
    if not (tag.isascii() and tag.isdecimal() and 1 <= int(tag) <= MOST_ELEMENTS):
        raise ContractError(
            f"feature {name!r}: width: an array needs the tag width=<its length>, a number from 1 to {MOST_ELEMENTS}"
            + (f" (got {tag!r})" if tag else "")
        )
    return int(tag)


def _dtype(field: Any) -> str:
    return str(field.dtype).lower()


def _own_keys(view: Any, entity_keys: Sequence[EntityKey]) -> tuple[str, ...] | None:
    own = {column.name for column in view.entity_columns}
    keys = tuple(key.join_key for key in entity_keys if key.join_key in own)
    return None if len(keys) == len(entity_keys) else keys


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
                given = _request_input(view.name, field)
                if inputs.setdefault(given.name, given) != given:
                    raise ContractError(f"request input {given.name!r} is declared in two ways, once by {view.name!r}")
    return tuple(inputs.values())


def _request_input(view: str, field: Any) -> RequestInput:
    dtype, default = _dtype(field), field.tags.get("default")
    described = {"name": field.name, "dtype": dtype, "filled_by": field.tags.get("filled_by", "request")}
    if dtype not in KINDS:
        raise ContractError(
            f"request input {field.name!r} of {view!r}: dtype: a request cannot give {field.dtype}; it can give "
            f"{', '.join(KINDS)}"
        )
    if default is not None:
        described["default"] = _typed_default(field.name, dtype, default)
    try:
        return RequestInput.model_validate(described)
    except ValidationError as error:
        problem = first_problem(error, with_value=True)
        raise ContractError(
            f"request input {field.name!r} of {view!r}: {problem.where}: {problem.what} (got {problem.value!r})"
        ) from None


def _typed_default(name: str, dtype: str, tag: str) -> bool | int | float | str:
    try:
        match dtype:
            case "string" | "unixtimestamp":
                default: bool | int | float | str = tag
            case "bool":
                default = {"true": True, "false": False}[tag.lower()]
            case "float32" | "float64":
                default = float(tag)
            case _:
                default = int(tag)
        python_value(default, dtype)  # else every request that leaves it out would be refused
    except KeyError:
        raise ContractError(f"request input {name!r}: default: must be true or false (got {tag!r})") from None
    except ValueError as error:
        raise ContractError(f"request input {name!r}: default: {tag!r} is not of type {dtype}: {error}") from None
    return default
