"""`build.json`: what a build of the offline store records of itself. Jobs write it, every plane reads it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from artefacts.build_files import BUILD_FILE, Written


class Partition(TypedDict):
    """A partition's number of rows, and the build that wrote it."""

    rows: int
    build: str


class Day(TypedDict):
    """One day's distinct events: their number, and the sum of their hashes as text."""

    events: int
    hash: str


@dataclass(frozen=True)
class Build:
    """One complete build of the offline store.

    source: where its events came from, for people.
    observed_until: every event before this time was delivered, but for late ones.
    known_until: end of its events: `observed_until`, or the stream's newest event; empty in builds of earlier versions.
    rows: per feature view, without rows from the stream.
    engine: name and version of the engine that computed it.
    definition: digest of the code that computed it.
    streamed_batches: numbers of the streamed batches that it includes.
    left_out: numbers of the streamed batches of another data set.
    partitions: view → partition → its rows and build.
    days: day of events (days since 1970, as text) → its events.
    files: view → partition → its files, see `artefacts.build_files`; empty in builds of earlier versions.
    cutoffs: training's cut-off settings, each as last set for this build or an earlier one.
    history: names of the builds before it, oldest first; names are times.
    streamed_from: folder of the stream's events, see `artefacts.build_files`; empty in builds of earlier versions.
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
    streamed_from: str = ""

    @classmethod
    def read(cls, folder: Path) -> "Build":
        """The record of a build's folder.

        Raises:
            OSError, ValueError, TypeError: there is none, or not one of this form.
        """
        record = _json(folder)
        try:
            days = {day: _counted(found) for day, found in record["days"].items()}
        except (AttributeError, KeyError) as error:
            raise ValueError(f"{folder}: no record of a build") from error
        return cls(**(record | {"days": days}))

    def write(self, folder: Path) -> None:
        """Record it in its folder, which nobody reads yet."""
        (folder / BUILD_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def is_build(folder: Path) -> bool:
    """True for the folder of a build."""
    return (folder / BUILD_FILE).is_file()


def inputs_sha256(folder: Path) -> str:
    """sha256 of what a build was made of: its events by day, until when they are known, and the code.

    A build of the same events gives the same value whatever day it is made on.

    Returns:
        Empty if the folder has no record, or one without these members.
    """
    try:
        record = _json(folder)
        made_of = {name: record[name] for name in ("observed_until", "days", "definition")}
    except (OSError, ValueError, KeyError):
        return ""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _counted(day: Any) -> Day:
    """A day's events; earlier versions wrote their number under another name."""
    (number,) = (value for name, value in day.items() if name != "hash")
    return Day(events=number, hash=day["hash"])


def _json(folder: Path) -> Any:
    return json.loads((folder / BUILD_FILE).read_text(encoding="utf-8"))
