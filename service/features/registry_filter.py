"""Removes code and class names from Feast's registry before Feast reads it, because reading runs and imports them.

When Feast makes an object of an on-demand view, it executes the view's source or unpickles its function. When it makes
one of a data source, it imports the class that the registry names. A check afterwards comes too late. So Feast gets a
new message, copied member by member, with only what predictions need.
"""

import ast
import hashlib
from collections.abc import Iterable
from typing import Any

from feast.infra.registry.registry import Registry as FileRegistry
from feast.infra.registry.registry_store import RegistryStore
from feast.protos.feast.core.DataSource_pb2 import DataSource
from feast.protos.feast.core.Feature_pb2 import FeatureSpecV2
from feast.protos.feast.core.FeatureView_pb2 import FeatureView
from feast.protos.feast.core.FeatureViewProjection_pb2 import FeatureViewProjection
from feast.protos.feast.core.OnDemandFeatureView_pb2 import OnDemandFeatureView, OnDemandSource
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.protos.feast.core.Transformation_pb2 import UserDefinedFunctionV2
from feast.repo_config import RegistryConfig
from feast.transformation.udf_rehydrate import rehydrate_udf_from_source

from contract import ContractMismatchError, ModelContract

_FIELD_TAGS = ("on_stale", "on_missing", "default", "kind", "on_unseen", "width", "filled_by")
"""Tags that `contract.registry_schema` reads. Feast builds types from other tags."""

_SETTINGS = ("serve_features_while_materializing", "enable_online_feature_view_versioning")
"""Settings of a registry's configuration that concern reading."""

# For each kind of message, the members that are copied unchanged: none of them names code, a class or a file.
_ENTITY = ("name", "project", "value_type", "join_key")
_FIELD = ("name", "value_type", "vector_index", "vector_search_metric", "vector_length")
_VIEW = ("name", "project", "entities", "ttl", "online", "version", "disabled")
_VIEW_META = ("current_version_number", "state")
_ON_DEMAND = (
    *("name", "project", "mode", "write_to_online_store", "singleton", "entities", "aggregations"),
    *("version", "disabled"),
)
_PROJECTION = (
    *("feature_view_name", "feature_view_name_alias", "join_key_map", "timestamp_field", "date_partition_column"),
    *("created_timestamp_column", "version_tag", "view_type"),
)


def held_registry(message: Registry, like: RegistryConfig | None = None) -> RegistryConfig:
    """Configure Feast's registry to be one fixed message, whatever happens to the file or database it came from.

    Args:
        message: made by `only_promised`.
        like: the repository's own configuration, whose settings for reading are kept.
    """
    kept = {} if like is None else {name: getattr(like, name) for name in _SETTINGS}
    return RegistryConfig(
        registry_store_type=f"{HeldRegistryStore.__module__}.{HeldRegistryStore.__name__}",
        cache_ttl_seconds=0,  # Feast never reads it again
        message=message,
        **kept,
    )


def registry_of(message: Registry, project: str) -> FileRegistry:
    """Feast's registry over one message, made by `only_promised`."""
    return FileRegistry(project, held_registry(message), None)


class HeldRegistryStore(RegistryStore):  # type: ignore[misc]  # feast publishes no types
    """Returns the message in its configuration. Feast creates it by the class name that `held_registry` gives."""

    def __init__(self, config: RegistryConfig, _repo_path: object) -> None:
        self._message: Registry = config.message

    def get_registry_proto(self) -> Registry:
        """The fixed message."""
        return self._message

    def update_registry_proto(self, registry_proto: Registry) -> None:
        """Not supported: the service only reads, and holds only a part of the registry."""
        raise NotImplementedError("the service does not write Feast's registry")

    def teardown(self) -> None:
        """As `update_registry_proto`."""
        raise NotImplementedError("the service does not write Feast's registry")


def only_promised(registry: Registry, project: str, contracts: Iterable[ModelContract]) -> Registry:
    """Copy one project of a registry without code, except the contracts' on-demand views with the promised hashes.

    Other views with code are left out. Nothing pickled and no class name is copied.

    Raises:
        ContractMismatchError: a promised on-demand view has other code, which was not run.
    """
    promised: dict[str, set[str]] = {}
    for contract in contracts:
        for name, sha256 in contract.feature_schema.transformations.items():
            promised.setdefault(name, set()).add(sha256)
    kept = Registry(registry_schema_version=registry.registry_schema_version, version_id=registry.version_id)
    kept.projects.add().spec.name = project
    for entity in _of(project, registry.entities):
        _copy(kept.entities.add().spec, entity.spec, _ENTITY)
    left_out = set()
    found: list[str] = []
    for view in _of(project, registry.on_demand_feature_views):
        if view.spec.name in promised:
            found += _broken(view, promised[view.spec.name])
            kept.on_demand_feature_views.append(_on_demand(view))
        else:
            left_out.add(view.spec.name)
    if found:
        raise ContractMismatchError(found)
    kept.feature_views.extend(_stored(view) for view in _of(project, registry.feature_views))
    for service in _of(project, registry.feature_services):
        copy = kept.feature_services.add().spec
        _copy(copy, service.spec, ("name", "project"))
        copy.features.extend(_projection(f) for f in service.spec.features if f.feature_view_name not in left_out)
    return kept


def _of(project: str, messages: Iterable[Any]) -> Iterable[Any]:
    return (message for message in messages if message.spec.project == project)


def _broken(view: Any, promised: set[str]) -> list[str]:
    """Problems with the code of a promised view. The code runs only if its hash is the promised one."""
    source = view.spec.feature_transformation.user_defined_function.body_text
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    name = f"on-demand view {view.spec.name!r}"
    if sha256 not in promised:
        return [f"{name}: source sha256 is {sha256!r}, the contract says {' or '.join(map(repr, sorted(promised)))}"]
    try:
        runs = rehydrate_udf_from_source(source, preferred_name=_function_in(source)) is not None
    except SystemExit:
        runs = False
    if not runs:
        return [
            f"{name}: its source does not run by itself; import what it needs inside the function, and write no quotes "
            "or parentheses into comments of its decorator, which Feast takes for code"
        ]
    return []


def _function_in(source: str) -> str:
    """The function that a source defines. The registry's own name for it is not covered by the hash."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return next((s.name for s in module.body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)), "")


def _copy(to: Any, message: Any, members: Iterable[str]) -> None:
    """Copy the given members where they are set, maps and lists whole."""
    wanted = set(members)
    for member, value in message.ListFields():
        if member.name not in wanted:
            continue
        if isinstance(value, bool | int | float | str | bytes):
            setattr(to, member.name, value)
        else:
            getattr(to, member.name).MergeFrom(value)


def _fields(fields: Iterable[Any]) -> Iterable[FeatureSpecV2]:
    for field in fields:
        copy = FeatureSpecV2()
        _copy(copy, field, _FIELD)
        for tag in _FIELD_TAGS:
            if tag in field.tags:
                copy.tags[tag] = field.tags[tag]
        yield copy


def _stored(view: Any) -> FeatureView:
    """Copy a stored view without its sources and code, which reading does not need."""
    copy = FeatureView()
    _copy(copy.spec, view.spec, _VIEW)
    copy.spec.features.extend(_fields(view.spec.features))
    copy.spec.entity_columns.extend(_fields(view.spec.entity_columns))
    _copy(copy.meta, view.meta, _VIEW_META)
    return copy


def _projection(projection: Any) -> FeatureViewProjection:
    copy = FeatureViewProjection()
    _copy(copy, projection, _PROJECTION)
    copy.feature_columns.extend(_fields(projection.feature_columns))
    return copy


def _on_demand(view: Any) -> OnDemandFeatureView:
    """Copy an on-demand view. Of its code only the hashed source is kept, never a pickled function."""
    copy = OnDemandFeatureView()
    _copy(copy.spec, view.spec, _ON_DEMAND)
    copy.spec.features.extend(_fields(view.spec.features))
    copy.spec.entity_columns.extend(_fields(view.spec.entity_columns))
    _copy(copy.meta, view.meta, _VIEW_META)
    source = view.spec.feature_transformation.user_defined_function.body_text
    copy.spec.feature_transformation.user_defined_function.CopyFrom(
        UserDefinedFunctionV2(name=_function_in(source), body_text=source)
    )
    for name, given in view.spec.sources.items():
        copy.spec.sources[name].CopyFrom(_source(given))
    return copy


def _source(given: Any) -> OnDemandSource:
    kind = given.WhichOneof("source")
    if kind == "feature_view":
        return OnDemandSource(feature_view=_stored(given.feature_view))
    if kind == "feature_view_projection":
        return OnDemandSource(feature_view_projection=_projection(given.feature_view_projection))
    request = DataSource(type=DataSource.REQUEST_SOURCE)
    if kind == "request_data_source":
        request.name = given.request_data_source.name
        request.request_data_options.schema.extend(_fields(given.request_data_source.request_data_options.schema))
    return OnDemandSource(request_data_source=request)
