"""Feast's configuration as the service needs it: of the two stores, the online one alone."""

import os
from pathlib import Path

import yaml
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import get_default_yaml_file_path

from artefacts.process.small_files import read_small_text
from service.errors import StartupError


class NoOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]  # feast publishes no types
    """Stands where the offline store's configuration would."""

    type: str = "none"


def online_config(repo: Path) -> RepoConfig:
    """What the feature repository's YAML says, but for the offline store.

    Feast imports the packages of the stores that its configuration names. Those of an offline store are large (DuckDB
    with Ibis, or Spark), the service never reads it, and its image does not hold them.

    Args:
        repo: folder of `feature_store.yaml`; `FEAST_FS_YAML_FILE_PATH` names another file, as it does for Feast.
    """
    file = get_default_yaml_file_path(repo)
    try:
        text = read_small_text(file)
    except OSError as error:
        raise StartupError(f"{file} cannot be read: {error.strerror}") from None
    config = RepoConfig(**{**yaml.safe_load(os.path.expandvars(text)), "offline_store": NoOfflineStoreConfig()})
    config.repo_path = repo
    return config
