"""Finds the folder that a Feast registry reads history from: it stores absolute paths from the last `feast apply`."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

_GLOB = re.compile(r"\[([*?[])\]")
_HADOOP = re.compile(r"\\(.)")


class PlacesOf(Protocol):
    """The part of Feast's registry that is read here."""

    def list_feature_views(self, project: str) -> Iterable[Any]:
        """Stored feature views."""

    def list_feature_services(self, project: str) -> Iterable[Any]:
        """Feature services."""


def another_store(registry: PlacesOf, project: str, offline_store: Path) -> Path | None:
    """A folder other than `offline_store` that the registry reads rows from or writes logs to; None if there is none.

    Only sources in the layout of `feature_repo/data_sources.py` are compared.
    """
    own = os.path.realpath(offline_store)
    for folder in _registered(registry, project):
        if not folder.is_absolute() or os.path.realpath(folder) != own:  # relative: depends on the working directory
            return folder
    return None


def is_built(view: Any) -> bool:
    """True if this project's builds write a registered view's rows; False if somebody else fills its source."""
    return _built_in(view) is not None


def _built_in(view: Any) -> str | None:
    """The offline store of a view in the layout of `feature_repo/data_sources.py`, escaped; None for another layout."""
    folder, found, _ = str(getattr(view.batch_source, "path", "")).rpartition(f"/current/{view.name}/")
    return folder if found else None


def _registered(registry: PlacesOf, project: str) -> Iterator[Path]:
    for view in registry.list_feature_views(project):
        if (folder := _built_in(view)) is not None:
            escaped = _HADOOP if type(view.batch_source).__name__ == "SparkSource" else _GLOB
            yield Path(escaped.sub(r"\1", folder))
    for service in registry.list_feature_services(project):
        destination = getattr(service.logging_config, "destination", None)
        folder, found, _ = str(getattr(destination, "path", "")).rpartition(f"/feature_log/{service.name}")
        if found:
            yield Path(folder)


def refusal(registry: str, elsewhere: Path, offline_store: Path) -> str:
    """The error message for a registry that reads another folder, with the remedies."""
    return (
        f"{registry} reads the offline store in {elsewhere}, but it is in {offline_store} (OFFLINE_STORE_DIR, or this "
        f"checkout): `make apply` has the registry read the latter, OFFLINE_STORE_DIR={elsewhere} keeps the former"
    )
