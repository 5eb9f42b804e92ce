"""Compiles feature services into a plan: which fields to read from Redis and how to decode them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.feature_union import FeatureUnion, InputGroup
from scoring.feast.on_demand import OnDemandView, compile_on_demand, is_renamed, obstacles
from service.errors import StartupError

if TYPE_CHECKING:
    from feast import FeatureStore


class UnsupportedFeatureServiceError(StartupError):
    """The compiled reader cannot read this feature service as Feast's SDK would. The message says why."""


@dataclass(frozen=True)
class StoredColumn:
    """A hash field: its place in the reply and what it holds."""

    position: int
    dtype: str


@dataclass(frozen=True)
class StoredGroup:
    """Stored inputs of one type: columns of the model, and positions of their fields in the reply."""

    dtype: str
    columns: tuple[int, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class ReadInputs:
    """Inputs that are read together and fail together.

    stored: stored inputs, grouped by type.
    on_demand: the views that compute the other inputs.
    columns: all of these inputs, as columns of the models' inputs.
    views: positions of the views whose event times belong to the inputs.
    """

    stored: tuple[StoredGroup, ...]
    on_demand: tuple[OnDemandView[StoredColumn], ...]
    columns: range
    views: range


@dataclass(frozen=True)
class ReadPlan:
    """How to read the models' feature services for any entity.

    project: Feast's.
    key: makes the Redis key of one entity.
    fields: the hash fields to read; the last `views` are event times.
    groups: the inputs, by the first model that takes them. A row that cannot be read in the first group is unread as a
        whole; in another, only that group's inputs are.
    request_inputs: inputs that are the time of the request.
    """

    join_key: str
    project: str
    key: Callable[[Any], bytes]
    fields: tuple[bytes, ...]
    views: int
    columns: int
    groups: tuple[ReadInputs, ...]
    request_inputs: tuple[str, ...]
    read_value: Callable[[bytes], Any]
    read_number: Callable[[bytes], float]
    read_timestamp: Callable[[bytes], float]


def compile_plan(store: "FeatureStore", union: FeatureUnion, connection_string: str) -> ReadPlan:
    """Make the plan for all features that the models read.

    Args:
        store: its registry has been compared with the models' contracts.
        connection_string: of the Redis that the plan is for, in Feast's form.

    Raises:
        UnsupportedFeatureServiceError: the SDK would read something in another way.
    """
    from scoring.feast.redis_layout import KeyLayout, feast_key, feature_field, time_field
    from scoring.feast.values import read_number, read_timestamp, read_value

    _check_supported(store, union, connection_string)
    fields: dict[bytes, int] = {}
    dtypes = {
        (view.name, field.name): str(field.dtype).lower()
        for view in (store.registry.get_feature_view(v.name, store.project) for v in union.views)
        for field in view.features
    }

    def stored_column(view: str, feature: str) -> StoredColumn:
        position = fields.setdefault(feature_field(view, feature), len(fields))
        return StoredColumn(position, dtypes[view, feature])

    def inputs(group: InputGroup) -> ReadInputs:
        stored: dict[str, list[tuple[int, int]]] = {}
        for column in group.features:
            spec = union.features[column]
            if spec.view in stored_views:
                found = stored_column(spec.view, spec.field_name)
                stored.setdefault(found.dtype, []).append((column, found.position))
        return ReadInputs(
            stored=tuple(
                StoredGroup(dtype, tuple(column for column, _ in pairs), tuple(position for _, position in pairs))
                for dtype, pairs in stored.items()
            ),
            on_demand=tuple(
                compile_on_demand(
                    store.registry.get_on_demand_feature_view(name, store.project), outputs, stored_column
                )
                for name, outputs in computed.items()
                if min(outputs.values()) in group.features  # the group that needs a view first computes all of it
            ),
            columns=group.features,
            views=group.views,
        )

    stored_views = {view.name for view in union.views}
    computed: dict[str, dict[str, int]] = {}
    for column, spec in enumerate(union.features):
        if spec.view not in stored_views:
            computed.setdefault(spec.view, {})[spec.field_name] = column
    groups = tuple(map(inputs, union.groups))  # fills `fields`

    (key,) = union.entity_keys
    join_keys = {key.join_key: key.dtype}
    plan = ReadPlan(
        join_key=key.join_key,
        project=store.project,
        key=KeyLayout.of(store.project, join_keys).key,
        fields=(*fields, *(time_field(view.name) for view in union.views)),
        views=len(union.views),
        columns=len(union.features),
        groups=groups,
        request_inputs=tuple(r.name for r in union.request_inputs if r.filled_by != "request"),
        read_value=read_value,
        read_number=read_number,
        read_timestamp=read_timestamp,
    )
    for sample in ("0", "Zoë Ωμέγα"):
        if plan.key(sample) != feast_key(store.project, join_keys, sample):
            raise UnsupportedFeatureServiceError("this version of feast lays out its Redis keys differently")
    return plan


def _check_supported(store: "FeatureStore", union: FeatureUnion, connection_string: str) -> None:
    config = store.config
    online: Any = config.online_store
    reasons = [
        (getattr(online, "type", "") != "redis", "the online store is not Redis"),
        (getattr(online, "redis_type", "") == "redis_cluster", "a Redis cluster"),
        (
            getattr(online, "connection_string", "") != connection_string,
            "feature_store.yaml does not take its connection_string from REDIS_URL alone",
        ),
        (config.entity_key_serialization_version != 3, "entity keys are not serialised in version 3"),
        (config.registry.enable_online_feature_view_versioning, "feature views are versioned online"),
        ([k.dtype for k in union.entity_keys] != ["string"], "not exactly one join key of type string"),
        (any(view.join_keys is not None for view in union.views), "views are read by different join keys"),
        (
            any(given.kind != "numeric" or given.element is not None for given in union.features),
            "categories, times or arrays are inputs of the model",
        ),
    ]
    services = [store.get_feature_service(name) for name in union.feature_services]
    projections = [projection for service in services for projection in service.feature_view_projections]
    for projection in projections:
        reasons.append((is_renamed(projection), f"view {projection.name!r} is renamed in the feature service"))
    for name in sorted({projection.name for projection in projections} - {view.name for view in union.views}):
        view = store.registry.get_on_demand_feature_view(name, store.project)
        reasons += [(True, reason) for reason in obstacles(view)]
    for applies, reason in reasons:
        if applies:
            raise UnsupportedFeatureServiceError(reason)
