"""Feast runs the code that it finds in its registry, while it reads it: here only promised code gets that far.

The source of an on-demand view is executed, or its function unpickled, as soon as Feast reads the view, so that a hash
compared afterwards comes too late. This stands between Feast and the registry's bytes, at every reading of them.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feast.infra.registry.registry import Registry as FileRegistry
from feast.infra.registry.registry_store import RegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.protos.feast.core.Transformation_pb2 import UserDefinedFunctionV2
from feast.transformation.udf_rehydrate import rehydrate_udf_from_source

from contract import ContractMismatchError, ModelContract

if TYPE_CHECKING:
    from feast import FeatureStore

_WITHOUT_CODE = ("registry_schema_version", "version_id", "entities", "data_sources", "projects")


def keep_to_promised_code(store: "FeatureStore", contracts: Iterable[ModelContract]) -> None:
    """From now on a store's registry hands on no code but what the contracts promise.

    Raises:
        ContractMismatchError: a promised on-demand view has other code; none of it has run.
    """
    registry = store.registry
    if isinstance(registry, FileRegistry):
        read = registry._registry_store.get_registry_proto
    else:  # SQL and others make objects of single rows; as one message they can be read without
        read = registry.proto
        registry = store._registry = FileRegistry(store.project, None, None)
        registry.serve_features_while_materializing = store.config.registry.serve_features_while_materializing
        registry.cached_registry_proto_ttl = timedelta(seconds=store.config.registry.cache_ttl_seconds)
    registry._registry_store = PromisedCodeOnly(read, store.project, contracts)
    registry.refresh(store.project)


class PromisedCodeOnly(RegistryStore):  # type: ignore[misc]  # feast publishes no types
    """What a registry holds, without any code but the on-demand views of contracts, each with the promised hash.

    Other views that carry code are as if they were not there, and nothing pickled is handed on.

    Args:
        read: the registry as it is now, before Feast makes objects of it.
    """

    def __init__(self, read: Callable[[], Registry], project: str, contracts: Iterable[ModelContract]) -> None:
        self._read = read
        self._project = project
        self._promised: dict[str, set[str]] = {}
        for contract in contracts:
            for view, sha256 in contract.feature_schema.transformations.items():
                self._promised.setdefault(view, set()).add(sha256)

    def get_registry_proto(self) -> Registry:
        """Read it.

        Raises:
            ContractMismatchError: a promised on-demand view has other code; none of it has run.
        """
        return only_promised(self._read(), self._project, self._promised)

    def update_registry_proto(self, registry_proto: Registry) -> None:
        """The service only reads; what it reads is less than there is."""
        raise NotImplementedError("the service does not write Feast's registry")

    def teardown(self) -> None:
        """As `update_registry_proto`."""
        raise NotImplementedError("the service does not write Feast's registry")


def only_promised(registry: Registry, project: str, promised: Mapping[str, set[str]]) -> Registry:
    """A copy of one project of a registry with no code but what was promised.

    Args:
        promised: on-demand view → the hashes that its source may have.

    Raises:
        ContractMismatchError: one of them has other code.
    """
    kept = Registry()
    for name in _WITHOUT_CODE:
        if isinstance(value := getattr(registry, name), str):
            setattr(kept, name, value)
        else:
            getattr(kept, name).MergeFrom(value)
    left_out = set()
    found: list[str] = []
    for view in (view for view in registry.on_demand_feature_views if view.spec.project == project):
        if view.spec.name in promised:
            found += _broken(view, promised[view.spec.name])
            _strip(kept.on_demand_feature_views.add(), view)
        else:
            left_out.add(view.spec.name)
    if found:
        raise ContractMismatchError(found)
    for view in registry.feature_views:
        _without_code(kept.feature_views.add(), view)
    for service in registry.feature_services:
        copy = kept.feature_services.add()
        copy.CopyFrom(service)
        del copy.spec.features[:]
        copy.spec.features.extend(f for f in service.spec.features if f.feature_view_name not in left_out)
    return kept


def _broken(view: Any, promised: set[str]) -> list[str]:
    """What is wrong with the code of a promised view, without running it unless it is the promised code."""
    source = view.spec.feature_transformation.user_defined_function.body_text
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    name = f"on-demand view {view.spec.name!r}"
    if sha256 not in promised:
        return [f"{name}: source sha256 is {sha256!r}, the contract says {' or '.join(map(repr, sorted(promised)))}"]
    if rehydrate_udf_from_source(source, preferred_name=view.spec.name) is None:
        return [f"{name}: its source does not run by itself; import what it needs inside the function"]
    return []


def _strip(copy: Any, view: Any) -> None:
    """Only the source is left, of which the hash was taken; no pickled function can stand in for it."""
    copy.CopyFrom(view)
    copy.spec.ClearField("user_defined_function")
    function = view.spec.feature_transformation.user_defined_function
    copy.spec.feature_transformation.user_defined_function.CopyFrom(
        UserDefinedFunctionV2(name=function.name, body_text=function.body_text, mode=function.mode)
    )
    for source in copy.spec.sources.values():
        if source.HasField("feature_view"):
            _without_code(source.feature_view, source.feature_view)


def _without_code(copy: Any, view: Any) -> None:
    """A stored view needs none to be read."""
    copy.CopyFrom(view)
    copy.spec.ClearField("feature_transformation")
    copy.spec.ClearField("source_views")
