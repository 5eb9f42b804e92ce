"""Places that hold rows of an entity. Each counts them and erases them, so that counting again is the proof."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from artefacts.log_rows import COMPLETE_SUFFIX, log_files
from jobs.erasure.entity import Entity
from jobs.erasure.rewriting import (
    OpenLogError,
    erase_parquet,
    erase_stream,
    is_open_log,
    rows_in_parquet,
    rows_in_stream,
    unreadable_parquet,
)
from jobs.erasure.text_files import NotTextError, erase_text, erased_text
from jobs.errors import JobError
from scoring.errors import ModelError
from scoring.inference_log import read_log
from scoring.pseudonyms import are_pseudonyms

_METRICS = ".prom"
"""Metrics of the jobs, whose counts are easily taken for keys."""
_NOT_HERE = {"mlflow", "redis", "feast", "stamps", "use_cases", "builds", "current", "erasures", "erased_keys", "query"}
"""Folders of which no file is read here: other tools', other use cases', and the offline store's builds."""


class Place(Protocol):
    """One place."""

    name: str

    def count(self) -> dict[str, int]:
        """Where → number of rows of the entity; nothing where there is none."""

    def left(self) -> list[str]:
        """After `count`: what may be the entity's and cannot be removed here, a sentence each with the way out."""

    def erase(self) -> None:
        """Remove what was counted."""


@dataclass
class Files:
    """Files below some folders: Parquet, a log's open files, JSON, CSV, and the pages of reports.

    requests: (request id, row) of the entity's answers, by which labels are found that have no key.
    unread: after `count`, files that are of no kind that is read here, with the reason.
    """

    entity: Entity
    folders: Sequence[Path]
    requests: frozenset[tuple[str, int]] = frozenset()
    name: str = "files"
    unread: list[str] = field(default_factory=list)
    _found: dict[Path, int] = field(default_factory=dict)
    _left: list[str] = field(default_factory=list)

    def count(self) -> dict[str, int]:
        """See `Place`; damaged files raise JobError."""
        self._found, self._left, self.unread = {}, [], []
        pages = []
        for file, inside in self._files():
            if file.suffix == ".html":
                pages.append(file)
            elif count := self._count(file):
                self._found[file] = count
            if self.entity.is_in_path(inside):
                self._tell(file, "its path holds the key", needs_removal=True)
        self._count_pages(pages)
        counted: Counter[str] = Counter()
        for file, count in self._found.items():
            counted[self.entity.hidden(str(file))] += count
        return dict(counted)

    def left(self) -> list[str]:
        """See `Place`."""
        return self._left

    def erase(self) -> None:
        """Remove what was counted, in an order that a killed run can resume.

        A page is removed before the JSON that tells whose it is; a log's files come last, because they tell which
        labels are the entity's.

        Raises:
            OpenLogError: a service writes to some of them; the others are done.
        """
        still_open = []
        for file in sorted(self._found, key=_order):
            try:
                self._erase(file)
            except FileNotFoundError:
                continue
            except OpenLogError as error:
                still_open.append(self.entity.hidden(str(error)))
        if still_open:
            raise OpenLogError("; ".join(still_open))

    def _erase(self, file: Path) -> None:
        if file.suffix == COMPLETE_SUFFIX:
            erase_parquet(file, self._removed)
        elif is_open_log(file):
            erase_stream(file, self._removed)
        elif file.suffix == ".html":
            file.resolve().unlink()
        else:
            erase_text(file, erased_text(file, self.entity, self._removed).text)

    def _count(self, file: Path) -> int:
        if file.suffix == COMPLETE_SUFFIX:
            count = rows_in_parquet(file, self._removed, (*self.entity.values, "request_id", "row"))
            if why := unreadable_parquet(file, self.entity):
                self._tell(file, why, needs_removal=False)
            return count
        if is_open_log(file):
            return rows_in_stream(file, self._removed)
        if file.suffix == _METRICS:
            return 0
        try:
            erased = erased_text(file, self.entity, self._removed)
        except NotTextError as error:
            self._tell(file, str(error), needs_removal=self._is_in_bytes(file))
            return 0
        if erased.unclear:
            self._tell(file, erased.unclear, needs_removal=True)
        return erased.removed

    def _tell(self, file: Path, why: str, *, needs_removal: bool) -> None:
        named = f"{self.entity.hidden(str(file))}: {why}"
        if needs_removal:
            self._left.append(f"{named}; take the key out of it by hand, or remove it, and run this again")
        else:
            self.unread.append(named)

    def _is_in_bytes(self, file: Path) -> bool:
        if not file.stat().st_size:
            return False
        with file.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as raw:
            return self.entity.may_be_in_bytes(raw)

    def _removed(self, table: pa.Table) -> pa.Array | None:
        mask = self.entity.rows_of(table)
        if mask is not None or "request_id" not in table.column_names or not self.requests:
            return mask
        rows = table["row"].to_pylist() if "row" in table.column_names else [0] * table.num_rows
        asked = zip(table["request_id"].to_pylist(), rows, strict=True)
        return pa.array([(str(one), _number(row)) in self.requests for one, row in asked], pa.bool_())

    def _files(self) -> Iterator[tuple[Path, Path]]:
        """Each file, and its path below the folder in which it was found."""
        seen: set[Path] = set()
        for folder in self.folders:
            found = [folder] if folder.is_file() else sorted(folder.rglob("*"))
            for file in found:
                inside = file.relative_to(folder) if file != folder else Path(file.name)
                if file in seen or file.name.startswith(".") or not file.is_file() or {*inside.parts[:-1]} & _NOT_HERE:
                    continue
                seen.add(file)
                yield file, inside

    def _count_pages(self, pages: Sequence[Path]) -> None:
        """Pages that name the entity. A report's says what its JSON says, and the next report makes it again."""
        for page in pages:
            reports = [file for file in page.parent.glob("*.json") if f"{page.stem}-".startswith(f"{file.stem}-")]
            if (reports and self._found.keys().isdisjoint(reports)) or not self.entity.may_be_in(_read_page(page)):
                continue
            if reports:
                self._found[page] = 1
            else:
                self._tell(page, "it is a page that names the key", needs_removal=True)


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
                if text and pc.any(are_pseudonyms(table[name])).as_py():
                    return True
    return False


def _read_page(page: Path) -> str:
    return re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8", errors="replace"))


def _number(row: Any) -> int:
    """A row's place in its request; -1 for what is no number."""
    try:
        return int(float(row or 0))
    except (ValueError, OverflowError, TypeError):
        return -1


def _order(file: Path) -> tuple[bool, bool, str]:
    return file.parent.name.startswith("date="), file.suffix != ".html", str(file)
