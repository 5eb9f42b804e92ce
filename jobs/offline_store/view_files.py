"""The files of a feature view: their build, and which of them have changed."""

import glob
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import JobError
from jobs.offline_store.latest_rows import ViewSource

_ESCAPED = re.compile(r"\[([*?[])\]")
"""A special character as `glob.escape` writes it."""


def resolved(source: ViewSource) -> ViewSource:
    """The same view over the build in place now, even if the link `current` moves later."""
    folder, pattern = parts(source.path)
    return replace(source, path=str(Path(glob.escape(str(folder.resolve()))) / pattern))


def replaced(of_build: ViewSource, source: ViewSource) -> bool:
    """True if `source`, a path through `current`, no longer leads to the build of `of_build`."""
    return resolved(source).path != of_build.path


def build_of(source: ViewSource) -> Path:
    """The folder of the build that wrote a view's files."""
    return parts(source.path)[0].parent


def identities(source: ViewSource) -> dict[str, str]:
    """File, relative to the view's folder → its identity.

    Files that a build keeps are hard links, so they keep their identity.

    Raises:
        JobError: there are no files.
    """
    folder, _ = parts(source.path)
    found = {}
    for file in source.files():
        try:
            found[str(Path(file).relative_to(folder))] = identity(Path(file))
        except OSError as error:
            raise JobError(f"{file}: {error.strerror}") from None
    return found


def identity(file: Path) -> str:
    """Text that changes whenever a file's content does; raises OSError."""
    at = file.stat()
    return f"{at.st_ino}-{at.st_size}-{at.st_mtime_ns}"


def of_kept_builds(source: ViewSource, wanted: Collection[str]) -> list[str] | None:
    """Find files that a view had, by identity, in the kept builds.

    Returns:
        Their paths; None if any is missing.
    """
    if not wanted:
        return []
    if not source.is_built:
        return None
    view, pattern = parts(source.path)
    found = {}
    for file in view.parent.parent.glob(f"*/{glob.escape(view.name)}/{pattern}"):
        with suppress(OSError):  # a build is being deleted
            found[identity(file)] = str(file)
    return [found[each] for each in sorted(wanted)] if found.keys() >= set(wanted) else None


def limited_to(source: ViewSource, names: Iterable[str]) -> ViewSource:
    """The same view over some of its files, named as in `identities`."""
    folder, _ = parts(source.path)
    return replace(source, only=tuple(str(folder / name) for name in sorted(names)))


def newest_event_time(source: ViewSource, name: str) -> datetime | None:
    """The greatest event time in a file, from its statistics; None without rows.

    Raises:
        JobError: it is not readable as Parquet.
    """
    folder, _ = parts(source.path)
    try:
        metadata = pq.read_metadata(folder / name)
    except (pa.ArrowInvalid, OSError) as error:
        raise JobError(f"{folder / name}: is not readable as Parquet ({str(error).splitlines()[0]})") from None
    leaves = [metadata.schema.column(leaf).path for leaf in range(metadata.num_columns)]  # of structs there are several
    column = leaves.index(source.timestamp_field)
    newest = None
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        if not group.num_rows:
            continue
        statistics = group.column(column).statistics
        if statistics is None or not statistics.has_min_max:
            return datetime.max.replace(tzinfo=UTC)  # unknown, so assume the latest
        newest = statistics.max if newest is None else max(newest, statistics.max)
    return newest.replace(tzinfo=UTC) if newest is not None and newest.tzinfo is None else newest


def parts(path: str) -> tuple[Path, str]:
    """Split a glob into its fixed folder, unescaped, and the remaining pattern."""
    pattern = Path(path).parts
    named = [_ESCAPED.sub(r"\1", part) for part in pattern]
    fixed = next((n for n, part in enumerate(pattern) if glob.escape(named[n]) != part), len(pattern) - 1)
    return Path(*named[:fixed]), str(Path(*pattern[fixed:]))
