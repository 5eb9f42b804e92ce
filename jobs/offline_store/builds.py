"""The offline store's builds: `builds/<name>/<view>/<partition>/*.parquet`, and `current`, a link to the newest.

Unchanged partitions are hard links to the previous build's files. Rows from the stream lie in
`current/<view>/streamed/batch-<n>.parquet` until a build includes their events.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from artefacts.build_files import STREAMED, Written, damage, streamed_batches, written, wrong_in
from artefacts.build_record import Build, is_build
from artefacts.process.atomic_files import replaced_file
from artefacts.process.file_locks import locked
from jobs.errors import JobError

MOST_HISTORY = 1_000


def read_build(offline_store: Path) -> Build:
    """Read the description of the build in place.

    Raises:
        JobError: there is none.
    """
    try:
        return Build.read(offline_store / "current")
    except (OSError, ValueError, TypeError):
        raise JobError(f"{offline_store}: no features; run `make features` first") from None


def read_build_or_none(offline_store: Path) -> Build | None:
    """The same; None if there is none."""
    try:
        return read_build(offline_store)
    except JobError:
        return None


def check_whole(build: Path, read: bool = True) -> None:
    """Check a build's files against its description. Arguments as for `artefacts.build_files.damage`.

    Raises:
        JobError: a file is missing, damaged, or of another build; names it.
    """
    if found := damage(build, read):
        raise JobError(found)


def kept_builds(build: Path) -> dict[Path, Build]:
    """Folder → build, for all complete builds beside this one, itself included; oldest first.

    Empty if the folder is no build.
    """
    found = {}
    for folder in sorted(build.parent.iterdir()) if is_build(build) else []:
        with suppress(OSError, ValueError, TypeError):
            found[folder] = Build.read(folder)
    return found


def next_history(previous: Build | None) -> list[str]:
    """The `history` of the build after this one."""
    return [*previous.history, previous.name][-MOST_HISTORY:] if previous else []


@contextmanager
def only_build(offline_store: Path) -> Iterator[Path]:
    """Lock the offline store for one build and yield its folder, removed at the end unless `put_in_place` moved it.

    Raises:
        JobError: another build is running.
    """
    builds = offline_store / "builds"
    with ExitStack() as held:
        try:
            held.enter_context(locked(builds / ".lock", wait=False))
        except BlockingIOError:
            raise JobError(f"{builds}: another build is running") from None
        try:
            _remove_partial(builds)  # of a build that was killed
            partial = builds / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.partial"
            partial.mkdir()
            yield partial
        finally:
            _remove_partial(builds)


def _remove_partial(builds: Path) -> None:
    for partial in builds.glob("*.partial"):
        shutil.rmtree(partial)


@contextmanager
def switching(offline_store: Path) -> Iterator[None]:
    """Lock `current`: a build moves the link, the stream adds rows below it. Hold the lock for milliseconds only."""
    with locked(offline_store / ".switch.lock"):
        yield


def whole_files(offline_store: Path, build: Build, view: str, partition: str) -> dict[str, Written]:
    """Files of a partition in the build in place; empty if one has changed or the build does not describe them."""
    files = build.files.get(view, {}).get(partition, {})
    return {} if any(wrong_in(offline_store / "current" / view / partition, files)) else files


def keep_partition(offline_store: Path, view: str, partition: str, files: Collection[str], partial: Path) -> None:
    """Link a partition's files from the build in place into the new build."""
    target = partial / view / partition
    target.mkdir(parents=True)
    for file in files:
        os.link(offline_store / "current" / view / partition / file, target / file)


def files_of(partition: Path) -> dict[str, Written]:
    """Describe the files of a new partition."""
    return {file.name: written(file) for file in sorted(partition.glob("*.parquet"))}


def put_in_place(partial: Path, build: Build, offline_store: Path, streamed: Path) -> None:
    """Write the description of a finished build and move `current` to it; keeps the previous build for its readers.

    Rows that the stream has added since, of batches that the build does not include, are kept.

    Args:
        streamed: folder of the stream's events.
    """
    build.write(partial)
    current, complete = offline_store / "current", offline_store / "builds" / build.name
    with switching(offline_store):
        previous = current.resolve() if current.is_symlink() else None
        if previous:
            waiting = streamed_batches(streamed).keys() - {*build.streamed_batches, *build.left_out}
            _take_over_streamed_rows(previous, partial, waiting)
        partial.rename(complete)
        with replaced_file(current) as link:
            link.symlink_to(Path("builds") / complete.name)
    for other in complete.parent.iterdir():
        if other.is_dir() and other not in (complete, previous):
            shutil.rmtree(other)


def _take_over_streamed_rows(previous: Path, partial: Path, waiting: Collection[int]) -> None:
    for rows in previous.glob(f"*/{STREAMED}/batch-*.parquet"):
        if int(rows.stem.removeprefix("batch-")) in waiting:
            target = partial / rows.relative_to(previous)
            target.parent.mkdir(exist_ok=True)
            os.link(rows, target)
