"""Text files without one entity's rows: JSON documents, lines of JSON, and rows of CSV, plain or compressed.

Other rows and lines keep their bytes. A JSON document, or a line, that has lost an object inside is written anew with
the same values.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from jobs.erasure.entity import Entity
from jobs.erasure.key_columns import without_decimal_zeros
from jobs.erasure.rewriting import Rows, count_of, replaced

_AS_THEY_ARE = "surrogateescape"
"""How bytes that are no UTF-8 are read and written: a file of another encoding keeps them."""
_HEAD = 65_536
"""Of a file, to tell if it is text, or of a line; csv takes cells of twice as many characters."""
_TABLES = {".csv", ".tsv"}
_DELIMITERS = ",;\t|"
_LINES_TO_HEADER = 5
"""A line like `sep=;`, or a comment, may stand before the columns' names."""


class _Packing(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_PACKED: dict[str, _Packing] = {".gz": gzip, ".bz2": bz2, ".xz": lzma}
_DAMAGED = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


class NotTextError(Exception):
    """The file is no text; the message says why."""


class Erased(NamedTuple):
    """removed: how many objects, lines or rows; text: what remains; unclear: why more of the entity may be in it."""

    removed: int
    text: str
    unclear: str = ""


def erased_text(file: Path, entity: Entity, removed: Rows) -> Erased:
    """What is removed from a text file, and what remains.

    Raises:
        NotTextError: it is binary, or damaged.
    """
    text = _text(file)
    try:
        if _kind(file) not in _TABLES and (found := _without_json(text, entity)) is not None:
            return found
    except RecursionError:
        return Erased(0, text, "its JSON is nested too deeply" if entity.may_be_in(text) else "")
    if (header := _Header.of(text, entity)) is not None:
        try:
            return _without_csv(header, text, entity, removed)
        except csv.Error as error:
            return Erased(0, text, f"cannot be read as CSV: {error}" if entity.may_be_in(text) else "")
    if _is_listed(text, entity):
        return Erased(0, text, "it is a list without the columns' names")
    return Erased(0, text, "it names the key in a form that is not known here" if entity.may_be_in(text) else "")


def erase_text(file: Path, text: str) -> None:
    """Replace the file."""
    raw = text.encode("utf-8", _AS_THEY_ARE)
    with replaced(file) as partial:
        partial.write_bytes(_PACKED[file.suffix].compress(raw) if file.suffix in _PACKED else raw)


def _kind(file: Path) -> str:
    return Path(file.stem).suffix if file.suffix in _PACKED else file.suffix


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        raw = opened.read(_HEAD)
        if file.suffix in _PACKED:
            try:
                raw = _PACKED[file.suffix].decompress(raw + opened.read())
            except _DAMAGED:
                raise NotTextError(f"it is damaged, or no {file.suffix[1:]}") from None
        elif b"\0" not in raw:
            raw += opened.read()
    if b"\0" in raw:
        raise NotTextError("it is neither text nor Parquet")
    return raw.decode("utf-8-sig", _AS_THEY_ARE)


def _without_json(text: str, entity: Entity) -> Erased | None:
    """None if it is no JSON and has no line of it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return _without_lines(text, entity)
    if not isinstance(document, dict | list):
        return None
    if entity.is_event(document):
        return Erased(1, "")
    count, pruned = _pruned(document, entity)
    lines = 2 if "\n" in text.strip() else None
    remains = _dumped(pruned, text, indent=lines) + "\n" if count else text
    return Erased(count, remains, _unclear(pruned, entity))


def _without_lines(text: str, entity: Entity) -> Erased | None:
    kept, count, is_json, unclear = [], 0, False, ""
    for line in io.StringIO(text):  # str.splitlines ends lines inside JSON's texts, too
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            kept.append(line)
            unclear = unclear or ("a line is no JSON and names the key" if entity.may_be_in(line) else "")
            continue
        is_json = is_json or isinstance(found, dict | list)
        if entity.is_event(found):
            count += 1
            continue
        inside, pruned = _pruned(found, entity)
        unclear = unclear or _unclear(pruned, entity)
        kept.append(_dumped(pruned, line) + line[len(line.rstrip("\r\n")) :] if inside else line)
        count += inside
    return Erased(count, "".join(kept), unclear) if is_json else None


def _dumped(value: Any, before: str, indent: int | None = None) -> str:
    """As JSON. A surrogate that stands for a byte of another encoding stays; every other is an escape again."""
    text = json.dumps(value, indent=indent, ensure_ascii=before.isascii())
    return re.sub("[\ud800-\udfff]", lambda found: found[0] if found[0] in before else f"\\u{ord(found[0]):04x}", text)


def _pruned(value: Any, entity: Entity, above: Mapping[str, Any] | None = None) -> tuple[int, Any]:
    """A JSON value without the objects of the entity that stand in its lists and members."""
    members: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        members, above = value.items(), {**(above or {}), **{n: value[n] for n in entity.values if n in value}}
    elif isinstance(value, list):
        members = enumerate(value)
    else:
        return 0, value
    count, kept = 0, []
    for name, member in members:
        if entity.is_event(member, above):
            count += 1
            continue
        inside, pruned = _pruned(member, entity, above)
        count += inside
        kept.append((name, pruned))
    return count, dict(kept) if isinstance(value, dict) else [member for _, member in kept]


def _unclear(value: Any, entity: Entity) -> str:
    """Where keys stand below the join key's name in lists or as names, or in a text.

    The text must have the join key's name, too, beside a key of fewer than five characters.
    """
    found = set(_outside(value, entity, None))
    return "its JSON has the key outside of objects with the join key as a member" if entity.is_in(found) else ""


def _outside(value: Any, entity: Entity, below: str | None) -> Iterator[str]:
    """Join keys whose value stands where it is no member of an object of that name."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _outside(name, entity, below)
            key = name if name in entity.values else name.removesuffix("s")  # `<key>s` of a request
            if key not in entity.values:
                yield from _outside(member, entity, below)
            elif isinstance(member, dict | list):
                yield from _outside(member, entity, key)
    elif isinstance(value, list):
        for member in value:
            yield from _outside(member, entity, below)
    elif below is not None:
        yield from (below,) if entity.is_value(below, value) else ()
    elif isinstance(value, str):
        yield from entity.named_in(value)


class _Header(NamedTuple):
    """Where the columns' names stand, and how cells are told apart.

    line: its number, from 0; padded: spaces stand around the cells.
    """

    line: int
    names: list[str]
    delimiter: str
    padded: bool

    @classmethod
    def of(cls, text: str, entity: Entity) -> "_Header | None":
        """The first line that has the join keys, or a request's id, as cells, under whichever delimiter."""
        lines = list(islice(io.StringIO(text, newline=""), _LINES_TO_HEADER))
        for wanted in ({*entity.values}, {"request_id"}):
            for at, line in enumerate(lines):
                for delimiter in _DELIMITERS:
                    names = [cell.strip() for cell in _cells(line[:_HEAD], delimiter)]
                    if wanted <= set(names):
                        return cls(at, names, delimiter, padded=f"{delimiter} " in line or f" {delimiter}" in line)
        return None


def _without_csv(header: _Header, text: str, entity: Entity, removed: Rows) -> Erased:
    lines = io.StringIO(text, newline="").readlines()
    top, body = lines[: header.line + 1], lines[header.line + 1 :]
    names = [name for name in (*entity.values, "request_id", "row") if name in header.names]
    if any(header.names.count(name) > 1 for name in names):
        return Erased(0, text, "two columns have the join key's name" if entity.may_be_in(text) else "")
    reader = csv.reader(body, delimiter=header.delimiter, skipinitialspace=header.padded)
    rows, ends = [], [0]
    for row in reader:
        # Rows that are too short or too long are judged by the cells that they have.
        rows.append([_cell(row, header.names.index(name), header.padded) for name in names])
        ends.append(reader.line_num)
    if not rows:
        return Erased(0, text)
    columns = {name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}
    mask, unclear = removed(pa.table(columns)), ""
    numbers = {name: without_decimal_zeros(cells) for name, cells in columns.items() if name in entity.values}
    if numbers and any(cells != columns[name] for name, cells in numbers.items()):
        of_numbers = removed(pa.table({**columns, **numbers}))
        if any("" in cells for cells in numbers.values()):
            mask = pc.or_(mask, of_numbers)
        elif count_of(of_numbers) > count_of(mask):
            unclear = "its keys are numbers with `.0` or texts, one of which may be the key"
    is_removed = [False] * len(rows) if mask is None else mask.to_pylist()
    kept = top
    for at, out in enumerate(is_removed):
        own = body[ends[at] : ends[at + 1]]
        if out:
            continue
        kept += own
        if not entity.may_be_in("".join(own)):
            continue
        if len(own) > 1:
            unclear = "a quoted cell goes over several lines and names the key"
        elif any(" " in cell.strip() and entity.may_be_in(cell) for cell in _cells(own[0], header.delimiter)):
            unclear = "a text in another column names the key"
    return Erased(count_of(mask), "".join(kept), unclear)


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])


def _cell(row: Sequence[str], at: int, padded: bool) -> str:
    cell = row[at].encode(errors="replace").decode() if at < len(row) else ""
    return cell.strip() if padded else cell


def _is_listed(text: str, entity: Entity) -> bool:
    """True if each line is one value, and one of them is the entity's."""
    lines = [line.strip().strip("\"'") for line in text.splitlines()]
    if any(each in line for line in lines for each in f"{_DELIMITERS} "):
        return False
    return len(entity.values) == 1 and any(entity.is_value(name, line) for name in entity.values for line in lines)
