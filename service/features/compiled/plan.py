"""Compiles feature services into a plan: which fields to read from Redis and how to decode them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from contract import FeatureInput, KeyValue, key_of
from contract.feature_schema import KeyDtype, array_widths
from contract.feature_union import FeatureUnion, InputGroup
from contract.values.request_values import times_of
from scoring.feast.on_demand import OnDemandView, compile_on_demand, is_renamed, obstacles
from service.errors import StartupError
from service.features.compiled.decoding import ArrayDecoder, TimeDecoder, TimestampDecoder, ValueDecoder
from service.features.compiled.stored_inputs import Categories, Elements, Numbers, StoredInputs, Times

if TYPE_CHECKING:
    from feast import FeatureStore


class UnsupportedFeatureServiceError(StartupError):
    """The compiled reader cannot read this feature service as Feast's SDK would. The message says why."""


@dataclass(frozen=True)
class StoredColumn:
    """A hash field: its position among those of all `ReadPlan.hashes`, and what it holds."""

    position: int
    dtype: str


@dataclass(frozen=True)
class ReadHash:
    """A hash that is read for every row: views of the same join keys share one.

    key: makes the Redis key of one entity from its whole key.
    fields: the hash fields to read.
    positions: of the fields among those of all hashes.
    """

    key: Callable[[Any], bytes]
    fields: tuple[bytes, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class ReadInputs:
    """Inputs that are read together and fail together.

    stored: stored inputs, grouped by how they are decoded.
    on_demand: the views that compute the other inputs.
    columns: all of these inputs, as columns of the models' inputs.
    views: positions of the views whose event times belong to the inputs.
    """

    stored: tuple[StoredInputs, ...]
    on_demand: tuple[OnDemandView[StoredColumn], ...]
    columns: range
    views: range


@dataclass(frozen=True)
class ReadPlan:
    """How to read the models' feature services for any entity.

    join_keys: names of the values of a key.
    project: Feast's.
    hashes: what is read for each row, in one round trip.
    times: position of each view's event time among the fields of all hashes.
    groups: the inputs, by the first model that takes them. A row that cannot be read in the first group is unread as a
        whole; in another, only that group's inputs are.
    request_inputs: inputs that are the time of the request.
    """

    join_keys: tuple[str, ...]
    project: str
    hashes: tuple[ReadHash, ...]
    times: tuple[int, ...]
    columns: int
    groups: tuple[ReadInputs, ...]
    request_inputs: tuple[str, ...]
    values: ValueDecoder
    timestamps: TimestampDecoder


def compile_plan(store: "FeatureStore", union: FeatureUnion, connection_string: str) -> ReadPlan:
    """Make the plan for all features that the models read.

    Args:
        store: its registry has been compared with the models' contracts.
        connection_string: of the Redis that the plan is for, in Feast's form.

    Raises:
        UnsupportedFeatureServiceError: the SDK would read something in another way.
    """
    from scoring.feast.values import read_number, read_timestamp, read_value

    _check_supported(store, union, connection_string)
    fields = _Fields(store, union)
    values = ValueDecoder(read_value, read_number)
    widths = array_widths(union.offered)
    stored_views = {view.name for view in union.views}
    computed: dict[str, dict[int, FeatureInput]] = {}
    for column, given in enumerate(union.features):
        if given.view not in stored_views:
            computed.setdefault(given.view, {})[column] = given

    def inputs(group: InputGroup) -> ReadInputs:
        own = {column: union.features[column] for column in group.features}
        stored = [(column, given) for column, given in own.items() if given.view in stored_views]
        return ReadInputs(
            stored=tuple(_stored_inputs(stored, fields.column, values, widths)),
            on_demand=tuple(
                compile_on_demand(
                    store.registry.get_on_demand_feature_view(name, store.project), outputs, fields.column, widths
                )
                for name, outputs in computed.items()
                if min(outputs) in group.features  # the group that needs a view first computes all of it
            ),
            columns=group.features,
            views=group.views,
        )

    groups = tuple(map(inputs, union.groups))
    times = tuple(fields.time(view.name) for view in union.views)
    return ReadPlan(
        join_keys=tuple(key.join_key for key in union.entity_keys),
        project=store.project,
        hashes=fields.hashes(),  # of all fields that were asked for above
        times=times,
        columns=len(union.features),
        groups=groups,
        request_inputs=times_of(union.request_inputs),
        values=values,
        timestamps=TimestampDecoder(read_timestamp),
    )


class _Fields:
    """Gives every hash field that is asked for its position."""

    def __init__(self, store: "FeatureStore", union: FeatureUnion) -> None:
        self._project = store.project
        self._join_keys = {key.join_key: key.dtype for key in union.entity_keys}
        self._keys_of = {view.name: view.join_keys or tuple(self._join_keys) for view in union.views}
        self._dtypes = {
            (name, field.name): str(field.dtype).lower()
            for name in self._keys_of
            for field in store.registry.get_feature_view(name, store.project).features
        }
        self._positions: dict[tuple[tuple[str, ...], bytes], int] = {}

    def column(self, view: str, feature: str) -> StoredColumn:
        """The field of a stored feature."""
        from scoring.feast.redis_layout import feature_field

        return StoredColumn(self._position(view, feature_field(view, feature)), self._dtypes[view, feature])

    def time(self, view: str) -> int:
        """The position of a view's event time."""
        from scoring.feast.redis_layout import time_field

        return self._position(view, time_field(view))

    def _position(self, view: str, field: bytes) -> int:
        return self._positions.setdefault((self._keys_of[view], field), len(self._positions))

    def hashes(self) -> tuple[ReadHash, ...]:
        """What holds the fields that were asked for.

        Raises:
            UnsupportedFeatureServiceError: Feast's own keys are other ones.
        """
        found: dict[tuple[str, ...], dict[bytes, int]] = {}
        for (keys, field), position in self._positions.items():
            found.setdefault(keys, {})[field] = position
        return tuple(ReadHash(self._key(keys), tuple(fields), tuple(fields.values())) for keys, fields in found.items())

    def _key(self, names: tuple[str, ...]) -> Callable[[Any], bytes]:
        from scoring.feast.redis_layout import KeyLayout, feast_key

        own = {name: self._join_keys[name] for name in names}
        layout = KeyLayout.of(self._project, own)
        for number in range(2):
            values = tuple(_SAMPLES[dtype][number] for dtype in own.values())
            sample = key_of(values)
            if layout.key(sample) != feast_key(self._project, own, sample):
                raise UnsupportedFeatureServiceError("this version of feast lays out its Redis keys differently")
        return _of_whole_key(layout.key, [list(self._join_keys).index(name) for name in names], len(self._join_keys))


_SAMPLES: Mapping[KeyDtype, tuple[KeyValue, KeyValue]] = {
    "string": ("0", "Zoë Ωμέγα"),
    "int32": (7, -(2**31)),
    "int64": (-7, 2**63 - 1),
}
"""Values of join keys of each type, by which our layout is compared with Feast's own."""


def _of_whole_key(lay_out: Callable[[Any], bytes], positions: list[int], n: int) -> Callable[[Any], bytes]:
    """Lays out some of the `n` values of a key."""
    if positions == list(range(n)):
        return lay_out
    own = itemgetter(*positions)  # of one position the bare value
    return lambda key: lay_out(own(key))


def _stored_inputs(
    inputs: Sequence[tuple[int, FeatureInput]],
    column_of: Callable[[str, str], StoredColumn],
    values: ValueDecoder,
    widths: Mapping[str, int],
) -> Iterator[StoredInputs]:
    """The stored inputs, grouped by how they are decoded."""
    from scoring.feast.values import read_elements, reader_of

    numbers: dict[str, list[tuple[int, int]]] = {}
    categories, times = list[tuple[int, int, Callable[[bytes], float]]](), list[tuple[int, int]]()
    arrays: dict[tuple[int, str, int], list[tuple[int, int]]] = {}
    for column, given in inputs:
        found = column_of(given.view, given.field_name)
        if given.codes is not None:
            categories.append((column, found.position, reader_of(given)))
        elif given.kind == "age":
            times.append((column, found.position))
            read_time = reader_of(given)
        elif given.element is not None:
            array = found.position, given.dtype, widths[given.reference]
            arrays.setdefault(array, []).append((column, given.element))
        else:
            numbers.setdefault(found.dtype, []).append((column, found.position))
    for dtype, of_type in numbers.items():
        yield Numbers(values, dtype, *zip(*of_type, strict=True))
    if categories:
        yield Categories(*zip(*categories, strict=True))
    if times:
        yield Times(TimeDecoder(read_time), *zip(*times, strict=True))
    for (position, dtype, width), elements in arrays.items():
        decoder = ArrayDecoder(dtype, width, partial(read_elements, width=width))
        yield Elements(decoder, position, *zip(*elements, strict=True))


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
