"""The offline store's builds: `builds/<name>/<view>/<partition>/*.parquet`, and `current`, a link to the newest.

A partition that a build does not change is the same file as in the build before (a hard link). Rows that the stream
adds lie in `current/<view>/streamed/batch-<n>.parquet` until a build includes the orders that they were made of.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from artefacts.build_files import STREAMED, Written, damage, written, wrong_in
from artefacts.process.atomic_files import replaced_file
from artefacts.process.file_locks import locked
from jobs.errors import JobError
from jobs.offline_store.orders_file import streamed_batches


class Partition(TypedDict):
    """Rows of a partition, and the name of the build that wrote it."""

    rows: int
    build: str


class Day(TypedDict):
    """The distinct orders of one day: how many, and the sum of their hashes as text (equal ones do not cancel out)."""

    orders: int
    hash: str


MOST_HISTORY = 1_000


@dataclass(frozen=True)
class Build:
    """One complete build of the offline store.

    source: where the orders came from that it is made of, for people.
    known_until: when these orders end: `observed_until`, or the newest order of the stream; builds of earlier versions
        do not say.
    rows: per feature view, those of the stream not counted.
    engine: name and version of what computed it.
    definition: digest of the code that computed it.
    streamed_batches: numbers of the batches of streamed orders that it includes.
    left_out: numbers of those that came with other data, whose rows are none of its own.
    partitions: view → partition → what is in it.
    days: day of its orders (days since 1970, as text) → what was in it.
    files: view → partition → its files, see `artefacts.build_files`; builds of earlier versions name none.
    cutoffs: what somebody has set of training's cut-offs for this build, or else for one before it; each setting apart.
    history: names of the builds before it, the oldest first, at most `MOST_HISTORY`; they are times.
    """

    name: str
    source: str
    observed_until: str
    newest_snapshot: str
    rows: dict[str, int]
    engine: str
    definition: str
    streamed_batches: list[int]
    partitions: dict[str, dict[str, Partition]]
    days: dict[str, Day]
    files: dict[str, dict[str, dict[str, Written]]] = field(default_factory=dict)
    left_out: list[int] = field(default_factory=list)
    known_until: str = ""
    cutoffs: dict[str, Any] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)


def read_build(offline_store: Path) -> Build:
    """Describe the build in place.

    Raises:
        JobError: there is none.
    """
    try:
        return _described(offline_store / "current")
    except (OSError, ValueError, TypeError):
        raise JobError(f"{offline_store}: no features; run `make features` first") from None


def check_whole(build: Path, streamed_orders: Path | None, read: bool = True) -> None:
    """Hold the files of a build against what it says of them. Arguments are those of `artefacts.build_files.damage`.

    Raises:
        JobError: a file is missing, damaged, or of another build; it is named.
    """
    if found := damage(build, streamed_orders, read):
        raise JobError(found)


def kept_builds(build: Path) -> dict[Path, Build]:
    """Every complete build that lies beside one, that one among them, by folder; the oldest first.

    Empty if the folder is no build.
    """
    found = {}
    for folder in sorted(build.parent.iterdir()) if (build / "build.json").is_file() else []:
        with suppress(OSError, ValueError, TypeError):
            found[folder] = _described(folder)
    return found


def next_history(previous: Build | None) -> list[str]:
    """The `history` of a build that follows this one."""
    return [*previous.history, previous.name][-MOST_HISTORY:] if previous else []


def _described(build: Path) -> Build:
    return Build(**json.loads((build / "build.json").read_text(encoding="utf-8")))


@contextmanager
def only_build(offline_store: Path) -> Iterator[Path]:
    """Build alone, in a folder that is there until `put_in_place` moves it; one that is not moved is removed.

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
    """Alone to change what `current` shows: a build moves it, the stream adds rows to it. Hold it for milliseconds."""
    with locked(offline_store / ".switch.lock"):
        yield


def whole_files(offline_store: Path, build: Build, view: str, partition: str) -> dict[str, Written]:
    """Files of a partition of the build in place; empty if they are not as they were written, or nobody says how."""
    files = build.files.get(view, {}).get(partition, {})
    return {} if any(wrong_in(offline_store / "current" / view / partition, files)) else files


def keep_partition(offline_store: Path, view: str, partition: str, files: Collection[str], partial: Path) -> None:
    """Take a partition over from the build in place, without copying it."""
    target = partial / view / partition
    target.mkdir(parents=True)
    for file in files:
        os.link(offline_store / "current" / view / partition / file, target / file)


def files_of(partition: Path) -> dict[str, Written]:
    """Describe the files of a partition that was just written."""
    return {file.name: written(file) for file in sorted(partition.glob("*.parquet"))}


def put_in_place(partial: Path, build: Build, offline_store: Path, streamed_orders: Path) -> None:
    """Describe and name the finished build and move the link onto it; keeps the build before it for its readers.

    Rows that the stream has added since, of batches that the build does not know, are taken over.
    """
    (partial / "build.json").write_text(json.dumps(asdict(build), indent=2) + "\n", encoding="utf-8")
    current, complete = offline_store / "current", offline_store / "builds" / build.name
    with switching(offline_store):
        previous = current.resolve() if current.is_symlink() else None
        if previous:
            waiting = streamed_batches(streamed_orders).keys() - {*build.streamed_batches, *build.left_out}
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
