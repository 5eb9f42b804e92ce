"""Reads Feast's registry as one protobuf message, before Feast makes objects of it."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from feast.infra.infra_object import Infra
from feast.infra.registry.registry import get_registry_store_class_from_scheme, get_registry_store_class_from_type
from feast.infra.registry.sql import SqlRegistry
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.repo_config import RepoConfig
from google.protobuf.message import DecodeError

from artefacts.process.small_files import read_small_file
from service.errors import StartupError

LARGEST_REGISTRY_BYTES = 64 * 1024 * 1024

_AT_REST_SECONDS = 1.0
"""Feast empties the file and then writes it. A file that has not changed for this long is complete."""

_STEP_SECONDS = 0.1
_GIVE_UP_SECONDS = 10.0

Found = TypeVar("Found")


class RegistryReader:
    """Reads the registry that a configuration names.

    Raises:
        StartupError: this kind of registry cannot be read without making objects of it.
    """

    def __init__(self, config: RepoConfig) -> None:
        settings = config.registry
        self.address: str = settings.path
        self._file: Path | None = None
        if settings.registry_type == "sql":
            # A cache of its own would be filled by a thread; here every look reads the tables.
            quiet = settings.model_copy(update={"cache_mode": "sync"})
            self._read: Callable[[], Registry] = _Tables(quiet, config.project, None).proto
        elif settings.registry_type != "file":
            raise StartupError(f"feature_store.yaml: registry_type {settings.registry_type!r}: it is file or sql here")
        elif "://" in settings.path or settings.registry_store_type is not None:
            kind = settings.registry_store_type
            store = get_registry_store_class_from_type(kind) if kind else None
            store = store or get_registry_store_class_from_scheme(settings.path)
            self._read = store(settings, config.repo_path).get_registry_proto
        else:
            self._file = Path(config.repo_path or ".", settings.path)
            self._read = partial(_read_file, self._file)

    def read(self) -> Registry:
        """Read the registry as it is now, perhaps while it is being written.

        Raises:
            DecodeError: the content is not a registry, or only half of one.
            OSError: the file cannot be read.
            Exception: any error of a database or an object store.
        """
        return self._read()

    def judged(self, judge: Callable[[Registry], Found], is_well: Callable[[Found], bool]) -> Found:
        """Read and judge the registry. A file's faults count only once it is no longer being written.

        Raises:
            Exception: of reading or judging it.
        """
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            before = self._stamp()
            failed: Exception | None = None
            try:
                found = judge(self.read())
                if is_well(found):
                    return found
            except Exception as error:
                failed = error
            if self._is_at_rest(before) or time.monotonic() > give_up:
                if failed is not None:
                    raise failed
                return found
            time.sleep(_STEP_SECONDS)

    def _stamp(self) -> tuple[int, ...] | None:
        if self._file is None:
            return None
        try:
            seen = self._file.stat()
        except OSError:
            return None
        return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns

    def _is_at_rest(self, before: tuple[int, ...] | None) -> bool:
        if before is None or self._stamp() != before:
            return before is None and self._stamp() is None
        # The later of both: a copy may keep its original's time. A clock that was set back must not delay us.
        age = time.time() - max(before[2:]) / 1e9
        return not -_AT_REST_SECONDS < age < _AT_REST_SECONDS


def _read_file(file: Path) -> Registry:
    content = read_small_file(file, LARGEST_REGISTRY_BYTES)
    if not content:  # protobuf takes it for a registry of nothing
        raise DecodeError("the file is empty")
    registry: Registry = Registry.FromString(content)
    return registry


class _Tables(SqlRegistry):  # type: ignore[misc]  # feast publishes no types
    """Reads a database's rows as messages, as Feast does, without the infrastructure, whose classes it imports."""

    def get_infra(self, *_: object, **__: object) -> Infra:
        """An empty one: the service needs none."""
        return Infra()
