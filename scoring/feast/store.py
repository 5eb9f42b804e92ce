"""Opens Feast's store for every plane from the repository's YAML and the project's addresses.

Importing this module imports feast, which takes seconds.
"""

import logging
import os
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from feast import FeatureStore, FeatureView
from feast.errors import FeastModuleImportError, FeastObjectNotFoundException, FeatureViewNotFoundException
from feast.repo_config import FeastConfigBaseModel, FeastConfigError, RegistryConfig, RepoConfig
from feast.utils import get_default_yaml_file_path
from pydantic import ValidationError

from artefacts.addresses import Artefacts
from artefacts.process.small_files import read_small_text
from contract.validation import first_problem
from scoring.feast.addresses_in_yaml import at_addresses

__all__ = [
    "FeastConfigError",
    "FeastObjectNotFoundException",
    "note_materialized",
    "open_online_store",
    "open_store",
    "read_config",
    "redis_client",
    "views_to_materialize",
]

_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})", re.ASCII)


class NoOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]  # feast publishes no types
    """Stands in for the offline store's configuration."""

    type: str = "none"


def open_store(repo: Path, artefacts: Artefacts, redis_options: Mapping[str, str] | None = None) -> FeatureStore:
    """Open a feature repository at the project's addresses.

    Args:
        repo: folder of `feature_store.yaml`.
        redis_options: keyword arguments of the Redis client that Feast makes, e.g. `socket_timeout`.

    Raises:
        ContractError: `REDIS_URL` is not a URL that Feast's connection string can express.
        OSError: the YAML file cannot be read.
        FeastConfigError: the YAML is not a valid configuration of Feast.
    """
    _silence()
    return FeatureStore(repo_path=str(repo), config=read_config(repo, artefacts.feast_environment(redis_options)))


def open_online_store(
    repo: Path,
    addresses: Mapping[str, str],
    registry: RegistryConfig,
    online_store: Mapping[str, Any] | None = None,
) -> FeatureStore:
    """Open a feature repository with another registry than the YAML's and without its offline store.

    Args and raises as `read_config`.
    """
    config = read_config(repo, addresses, reads_offline=False, registry=registry, online_store=online_store)
    return FeatureStore(repo_path=str(repo), config=config)


def read_config(
    repo: Path,
    addresses: Mapping[str, str],
    *,
    reads_offline: bool = True,
    registry: RegistryConfig | None = None,
    online_store: Mapping[str, Any] | None = None,
) -> RepoConfig:
    """Read a repository's YAML as Feast does.

    Feast imports the packages of the stores that its configuration names. Those of an offline store are large (DuckDB
    with Ibis, or Spark): a process that never reads it need not have them.

    Args:
        repo: folder of `feature_store.yaml`; `FEAST_FS_YAML_FILE_PATH` names another file, as it does for Feast.
        addresses: values of variables in the YAML, of which the environment has the others; they also replace its
            local defaults, see `scoring.feast.addresses_in_yaml`.
        reads_offline: False leaves the offline store out.
        registry: replaces the YAML's registry.
        online_store: replaces the YAML's online store.

    Raises:
        OSError: the YAML file cannot be read.
        FeastConfigError: the YAML is not a valid configuration of Feast, or names a store whose package is missing.
    """
    _silence()
    # Feast writes event times to PostgreSQL without their zone, which the session's then stands for.
    os.environ.setdefault("PGTZ", "UTC")
    file = get_default_yaml_file_path(repo)
    said: dict[str, Any] = yaml.safe_load(_expanded(read_small_text(file), {**os.environ, **addresses}))
    if isinstance(said, dict):
        said = at_addresses(said, addresses)
    if not reads_offline:
        said["offline_store"] = NoOfflineStoreConfig()
    if registry is not None:
        said["registry"] = registry
    if online_store is not None:
        said["online_store"] = dict(online_store)
    try:
        config = RepoConfig(**said)
    except ValidationError as error:
        problem = first_problem(error)  # without the value: it may hold a password
        raise FeastConfigError(f"{problem.where}: {problem.what}", file) from None
    except FeastModuleImportError as error:
        raise FeastConfigError(f"a store's package is not installed: {_missing_package(error)}", file) from None
    config.repo_path = repo
    return config


def views_to_materialize(store: FeatureStore) -> list[FeatureView]:
    """The views that Feast's own `materialize` writes, sorted by name, because Feast's own order varies."""
    registry, project = store.registry, store.project
    stored = (*registry.list_feature_views(project), *registry.list_stream_feature_views(project))
    on_demand = registry.list_on_demand_feature_views(project)
    views = [view for view in stored if view.online and view.enabled]
    views += [view for view in on_demand if view.write_to_online_store and view.enabled]
    return sorted(views, key=lambda view: str(view.name))


async def redis_client(store: FeatureStore) -> Any | None:
    """The asynchronous client of redis-py that Feast reads with; None where the online store is not Redis.

    Feast makes it from an address alone and offers no way to hand it one (docs/adr/0017-private-parts-of-libraries.md).
    """
    from feast.infra.online_stores.redis import RedisOnlineStore  # imports redis

    online_store = store.provider.online_store
    if not isinstance(online_store, RedisOnlineStore):
        return None
    return await online_store._get_client_async(store.config.online_store)


def note_materialized(store: FeatureStore, view: FeatureView, since: datetime, until: datetime) -> None:
    """Record a materialization in the registry, and keep what was applied since the store was opened."""
    with suppress(FeatureViewNotFoundException):  # the view was taken out meanwhile
        store.registry.refresh(store.project)  # else Feast writes the registry as it was when the store was opened
        store.registry.apply_materialization(view, store.project, since, until)


def _missing_package(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """Expand `$name` and `${name}` as Feast does with `os.path.expandvars`: unknown variables stay as they are."""
    return _VARIABLE.sub(lambda found: variables.get(found[1].strip("{}"), found[0]), text)


def _silence() -> None:
    # It warns that serve_features_while_materializing matters only with a SQL registry; the YAML serves both.
    logging.getLogger("feast.repo_config").setLevel(logging.ERROR)
    # ibis 12 calls a name that duckdb 1.5 deprecates; feast switches the warning on.
    warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)
    warnings.filterwarnings("ignore", "GitWildMatchPattern", DeprecationWarning)  # likewise bentoml 1.4.39 of pathspec
