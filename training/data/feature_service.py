"""A feature service in the live Feast registry, and what its rows are made of."""

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from artefacts.addresses import Artefacts
from artefacts.build_record import inputs_sha256
from artefacts.offline_place import is_built
from artefacts.process.redaction import redacted
from contract import FeatureSchema
from contract.registry_schema import read_feature_schema
from scoring.errors import FeatureSourceError
from training.errors import DatasetError

if TYPE_CHECKING:
    from feast import FeatureStore


class OpenedFeatureService(NamedTuple):
    """A feature service, the store that has it, and its schema."""

    store: "FeatureStore"
    service: Any
    schema: FeatureSchema


def open_feature_service(artefacts: Artefacts, name: str) -> OpenedFeatureService:
    """Look a feature service up; imports feast, which takes seconds.

    Raises:
        DatasetError: the registry does not have it.
    """
    from scoring.feast.store import open_store

    store = open_store(artefacts.feature_repo, artefacts)
    try:
        service = store.get_feature_service(name)
    except Exception as error:
        raise DatasetError(
            f"feature service {name!r} is not in {redacted(artefacts.feast_registry)}; run `make apply` first"
        ) from error
    return OpenedFeatureService(store, service, read_feature_schema(store.registry, store.project, name))


def built_from(artefacts: Artefacts) -> str:
    """sha256 of the inputs of the current offline store build: the events by day, `observed_until`, and the code.

    The same events give the same value on any day. Empty if the build has no record of its inputs, or there is none.
    """
    return inputs_sha256(artefacts.offline_store / "current")


def made_of(artefacts: Artefacts, feature_service: str) -> str:
    """sha256 of what the rows of a feature service are made of: `built_from`, or else `filled`.

    Raises:
        DatasetError: a source cannot be read; or the registry does not have the feature service.
    """
    if built := built_from(artefacts):
        return built
    opened = open_feature_service(artefacts, feature_service)
    return filled(opened.store, opened.schema)


def filled(store: "FeatureStore", schema: FeatureSchema) -> str:
    """sha256 of the newest event time and row count of each source that others fill; empty where there are none.

    Raises:
        DatasetError: a source cannot be read.
    """
    from scoring.feast.sources import state_of

    views = [store.get_feature_view(view.name) for view in schema.views]
    try:
        states = {view.name: state_of(store, view) for view in views if not is_built(view)}
    except FeatureSourceError as error:
        raise DatasetError(str(error)) from None
    if not any(state.rows for state in states.values()):
        return ""
    found = {name: [str(state.newest), state.rows] for name, state in states.items()}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
