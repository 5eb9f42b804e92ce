"""Places that hold rows of an entity. Each counts them and erases them, so that counting again is the proof."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from artefacts.log_rows import COMPLETE_SUFFIX, log_files
from jobs.erasure.entity import Entity
from jobs.erasure.rewriting import (
    OpenLogError,
    erase_parquet,
    erase_stream,
    erase_text,
    erased_text,
    is_open_log,
    rows_in_parquet,
    rows_in_stream,
)
from jobs.errors import JobError
from scoring.errors import ModelError
from scoring.inference_log import read_log
from scoring.pseudonyms import PREFIX

_TEXT = {".csv", ".json", ".jsonl", ".ndjson", ".txt", ""}
_NOT_HERE = {"mlflow", "redis", "feast", "stamps", "use_cases", "builds", "current", "erasures", "erased_keys", "query"}
"""Folders of which no file is read here: other tools', other use cases', and the offline store's builds."""


class Place(Protocol):
    """One place."""

    name: str

    def count(self) -> dict[str, int]:
        """Where → number of rows of the entity; nothing where there is none."""

    def erase(self) -> None:
        """Remove them."""


@dataclass
class Files:
    """Files below some folders: Parquet, a log's open files, JSON, CSV, and the pages of reports.

    requests: (request id, row) of the entity's answers, by which labels are found that have no key.
    """

    entity: Entity
    folders: Sequence[Path]
    requests: frozenset[tuple[str, int]] = frozenset()
    name: str = "files"
    _found: dict[Path, int] = field(default_factory=dict)

    def count(self) -> dict[str, int]:
        """See `Place`; damaged files raise JobError."""
        self._found = {}
        for file in self._files():
            if count := self._count(file):
                self._found[file] = count
        for page in self._pages():
            self._found[page] = 1
        return {str(file): count for file, count in self._found.items()}

    def erase(self) -> None:
        """Those that were counted, in an order in which the next run finds what a killed one has left.

        A page goes before the JSON that tells whose it is; a log's files come last, because they tell which labels are
        the entity's.

        Raises:
            OpenLogError: a service writes to some of them; the others are done.
        """
        still_open = []
        for file in sorted(self._found, key=_late):
            try:
                self._erase(file)
            except FileNotFoundError:
                continue
            except OpenLogError as error:
                still_open.append(str(error))
        if still_open:
            raise OpenLogError("; ".join(still_open))

    def _erase(self, file: Path) -> None:
        if file.suffix == COMPLETE_SUFFIX:
            erase_parquet(file, self._gone)
        elif is_open_log(file):
            erase_stream(file, self._gone)
        elif file.suffix == ".html":
            file.unlink()
        else:
            erase_text(file, erased_text(file, self.entity, self._gone)[1])

    def _count(self, file: Path) -> int:
        if file.suffix == COMPLETE_SUFFIX:
            return rows_in_parquet(file, self._gone, (*self.entity.values, "request_id", "row"))
        if is_open_log(file):
            return rows_in_stream(file, self._gone)
        if file.suffix in _TEXT:
            return erased_text(file, self.entity, self._gone)[0]
        return 0

    def _gone(self, table: pa.Table) -> pa.Array | None:
        mask = self.entity.rows_of(table)
        if mask is not None or "request_id" not in table.column_names or not self.requests:
            return mask
        rows = table["row"].to_pylist() if "row" in table.column_names else [0] * table.num_rows
        asked = zip(table["request_id"].to_pylist(), rows, strict=True)
        return pa.array([(str(one), int(row or 0)) in self.requests for one, row in asked], pa.bool_())

    def _files(self) -> Iterator[Path]:
        seen: set[Path] = set()
        for folder in self.folders:
            found = [folder] if folder.is_file() else sorted(folder.rglob("*"))
            for file in found:
                inside = file.relative_to(folder).parts[:-1] if file != folder else ()
                if file in seen or file.name.startswith(".") or not file.is_file() or {*inside} & _NOT_HERE:
                    continue
                seen.add(file)
                yield file

    def _pages(self) -> list[Path]:
        """Pages of reports whose JSON names the entity: the next report makes them again."""
        named = {file.parent for file in self._found if file.suffix == ".json"}
        return [
            page
            for folder in sorted(named)
            for page in sorted(folder.glob("*.html"))
            if self.entity.is_named_in(re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8", errors="replace")))
        ]


def requests_of(logs: Sequence[Path], entity: Entity) -> frozenset[tuple[str, int]]:
    """(request id, row) of the entity's answers in these logs.

    Raises:
        JobError: a file is damaged.
    """
    found: set[tuple[str, int]] = set()
    for log in logs:
        for file in log_files(log) if log.is_dir() else ():
            try:
                table = read_log(file)
            except ModelError as error:
                raise JobError(f"{error}; move it away, and erase what it holds by hand") from None
            mask = entity.rows_of(table)
            if mask is not None and table.num_rows:
                own = table.filter(mask)
                found |= set(zip(own["request_id"].to_pylist(), own["row"].to_pylist(), strict=True))
    return frozenset(found)


def has_pseudonyms(logs: Sequence[Path], names: Sequence[str]) -> bool:
    """True if some row of these logs has a pseudonym for one of these join keys."""
    for log in logs:
        for file in log_files(log) if log.is_dir() else ():
            try:
                table = read_log(file)
            except ModelError as error:
                raise JobError(str(error)) from None
            for name in names:
                text = name in table.column_names and pa.types.is_string(table[name].type)
                if text and pc.any(pc.starts_with(table[name], PREFIX)).as_py():
                    return True
    return False


def _late(file: Path) -> tuple[bool, bool, str]:
    return file.parent.name.startswith("date="), file.suffix != ".html", str(file)
