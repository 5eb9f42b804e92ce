"""Compares the offline store's files with what its build recorded; every plane checks before it reads rows.

`build.json` lists a build's files with size and sha256, by view and partition. `rows.json`, beside a batch of streamed
events, lists the rows that the stream added since. Parquet files are hashed, not parsed.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BUILD_FILE = "build.json"
"""The record, in a build's folder."""
STREAMED = "streamed"
"""The folder, beside a view's partitions, of the stream's rows: one file `batch-<n>.parquet` per batch."""
STREAMED_ROWS = "rows.json"
UNDER_WAY = ".under_way"
"""A marker file in the folder of a batch's events until the batch is complete."""

Written = list[Any]
"""[size in bytes, sha256], as in JSON."""


def written(file: Path) -> Written:
    """Size in bytes and sha256 of a file."""
    with file.open("rb") as opened:
        return [file.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest()]


def wrong_in(folder: Path, files: Mapping[str, Written], read: bool = True) -> Iterator[str]:
    """What is wrong with the Parquet files of a partition: one sentence per fault.

    Args:
        read: compare hashes, too; otherwise only names and sizes.
    """
    for name, expected in files.items():
        if sentence := _wrong(folder / name, expected, read):
            yield sentence
    for file in sorted(folder.glob("*.parquet")):
        if file.name not in files:
            yield f"{file}: is not of this build"


def streamed_batches(folder: Path) -> dict[int, list[Path]]:
    """Number of each batch in a folder of streamed events, `batch=<n>/part-*.parquet`, → its files."""
    return {
        int(batch.name.removeprefix("batch=")): sorted(batch.glob("part-*.parquet"))
        for batch in folder.glob("batch=*")
        if batch.name.removeprefix("batch=").isdecimal()
    }


def relative_to_store(streamed: Path, offline_store: Path) -> str:
    """The folder of streamed events as a build records it; so it is found after both have moved together."""
    return os.path.relpath(os.path.realpath(streamed), os.path.realpath(offline_store))


def damage(build: Path, read: bool = True) -> str | None:
    """The first fault of a build, and the command that repairs it; None if it is intact.

    What an earlier version did not record (its files, where the stream keeps its events) is not checked, nor are the
    stream's rows in a build to which it no longer adds.

    Args:
        build: a build's folder.
        read: as in `wrong_in`.
    """
    record = _json(build / BUILD_FILE)  # of any version, see `artefacts.build_record`
    found = next(_all_wrong(build, record, read), None)
    return f"{found}; `make features` mends it" if found else None


def _all_wrong(build: Path, record: Mapping[str, Any], read: bool) -> Iterator[str]:
    yield from _wrong_partitions(build, record.get("files", {}), read)
    if (streamed := record.get("streamed_from")) and not _was_replaced(build):
        known = {*record.get("streamed_batches", ()), *record.get("left_out", ())}
        yield from _wrong_streamed(build, build.resolve().parent.parent / streamed, known, read)


def _wrong_partitions(build: Path, views: Mapping[str, Any], read: bool) -> Iterator[str]:
    for view, partitions in views.items():
        for name, files in partitions.items():
            yield from wrong_in(build / view / name, files, read)
        for folder in sorted((build / view).glob("*/")):
            if partitions and folder.name not in {*partitions, STREAMED} and any(folder.glob("*.parquet")):
                yield f"{folder}: is not of this build"


def _wrong_streamed(build: Path, streamed: Path, known: set[int], read: bool) -> Iterator[str]:
    for rows in sorted(streamed.glob(f"batch=*/{STREAMED_ROWS}")):
        number = rows.parent.name.removeprefix("batch=")
        if number.isdecimal() and int(number) not in known and not (rows.parent / UNDER_WAY).exists():
            for view, expected in _json(rows).items():
                if sentence := _wrong(build / view / STREAMED / f"batch-{number}.parquet", expected, read):
                    if _was_replaced(build):
                        return  # replaced during this check; the stream now adds to the new build
                    yield sentence


def _was_replaced(build: Path) -> bool:
    current = build.parent.parent / "current"
    return current.is_symlink() and current.resolve() != build.resolve()


def _wrong(file: Path, expected: Written, read: bool) -> str | None:
    size, digest = expected
    try:
        if (found := file.stat().st_size) != size:
            return f"{file}: has {found:,} bytes, {size:,} were written"
        if read and written(file)[1] != digest:
            return f"{file}: was changed after it was written"
    except FileNotFoundError:
        return f"{file}: is missing"
    except OSError as error:
        return f"{file}: cannot be read: {error.strerror}"
    return None


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
