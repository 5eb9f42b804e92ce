"""Rewrites files without one entity's rows; each file is replaced in one step and keeps its time of change.

The time is kept because make compares it: a file that somebody delivered since stays newer.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.log_rows import COMPLETE_SUFFIX, OPEN_SUFFIX, flushed
from artefacts.process.atomic_files import replaced_file
from jobs.erasure.entity import Entity
from jobs.errors import JobError

Rows = Callable[[pa.Table], "pa.Array | None"]
"""Rows of a table that go, boolean (n,); None if the table can have none."""

_AS_THEY_ARE = "surrogateescape"
"""How bytes that are no UTF-8 are read and written: a file of another encoding keeps them."""


class OpenLogError(JobError):
    """A service writes to the file."""


@contextmanager
def _replaced(file: Path) -> Iterator[Path]:
    before = file.stat()
    with replaced_file(file, durable=True) as partial:
        yield partial
        partial.chmod(before.st_mode & 0o777)
        os.utime(partial, ns=(before.st_atime_ns, before.st_mtime_ns))


def rows_in_parquet(file: Path, gone: Rows, columns: tuple[str, ...]) -> int:
    """Number of rows that go; reads only the columns that `gone` looks at.

    Raises:
        JobError: it cannot be read.
    """
    try:
        with pq.ParquetFile(file) as opened:
            read = [name for name in columns if name in opened.schema_arrow.names]
            return sum(
                _count(gone(opened.read_row_group(group, columns=read))) for group in range(opened.num_row_groups)
            )
    except (pa.ArrowException, OSError) as error:
        raise JobError(f"{file}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def rewrite_parquet(file: Path, gone: Rows, target: Path) -> None:
    """Write the other rows to `target`, in the same order and row groups, with everything that the file says."""
    with pq.ParquetFile(file) as opened:
        said = {k: v for k, v in (opened.metadata.metadata or {}).items() if k != b"ARROW:schema"}
        of_schema = opened.schema_arrow.metadata or {}
        compression = opened.metadata.row_group(0).column(0).compression if opened.num_row_groups else "SNAPPY"
        with pq.ParquetWriter(
            target, opened.schema_arrow, compression="NONE" if compression == "UNCOMPRESSED" else compression
        ) as writer:
            for group in range(opened.num_row_groups):
                table = opened.read_row_group(group)
                mask = gone(table)
                kept = table if mask is None else table.filter(pc.invert(mask))
                if kept.num_rows:
                    writer.write_table(kept)
            if later := {key: value for key, value in said.items() if key not in of_schema}:
                writer.add_key_value_metadata(later)


def erase_parquet(file: Path, gone: Rows) -> None:
    """Replace the file."""
    with _replaced(file) as partial:
        rewrite_parquet(file, gone, partial)


def rows_in_stream(file: Path, gone: Rows) -> int:
    """As `rows_in_parquet`, of the flushed rows of a log's open file."""
    try:
        return sum(_count(gone(pa.Table.from_batches([batch]))) for batch in flushed(file))
    except FileNotFoundError:
        return 0
    except (pa.ArrowException, OSError) as error:
        raise JobError(f"{file}: cannot be read as inference log: {str(error).splitlines()[0]}") from None


def erase_stream(file: Path, gone: Rows) -> None:
    """Replace a log's open file whose process has ended.

    Raises:
        OpenLogError: its process lives.
    """
    with file.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OpenLogError(
                f"{file}: a service is writing it; it is complete within SERVICE_INFERENCE_LOG_FILE_SECONDS, or when "
                "the service ends"
            ) from None
        batches = list(flushed(file))
        if file.with_suffix(COMPLETE_SUFFIX).exists():  # with the same rows
            file.unlink(missing_ok=True)
            return
        with (
            _replaced(file) as partial,
            pa.OSFile(str(partial), "wb") as sink,
            pa.ipc.new_stream(sink, batches[0].schema) as writer,
        ):
            for batch in batches:
                table = pa.Table.from_batches([batch])
                mask = gone(table)
                kept = table if mask is None else table.filter(pc.invert(mask))
                if kept.num_rows:
                    writer.write_table(kept)


def erased_text(file: Path, entity: Entity, gone: Rows) -> tuple[int, str]:
    """What goes from a text file, and what remains: objects of JSON, lines of JSON, or rows of CSV.

    Returns:
        The number of objects or rows, and the new text.
    """
    text = file.read_text(encoding="utf-8-sig", errors=_AS_THEY_ARE)
    if file.suffix == ".csv":
        return _without_csv(text, gone)
    lines = io.StringIO(text).readlines()  # str.splitlines ends lines inside JSON's texts, too
    kept = [line for line in lines if not entity.is_line(line)]
    if len(kept) < len(lines):
        return len(lines) - len(kept), "".join(kept)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return 0, text
    count, pruned = _pruned(document, entity)
    return count, json.dumps(pruned, indent=2, ensure_ascii=False) + "\n" if count else text


def erase_text(file: Path, text: str) -> None:
    """Replace the file."""
    with _replaced(file) as partial:
        partial.write_text(text, encoding="utf-8", errors=_AS_THEY_ARE)


def _without_csv(text: str, gone: Rows) -> tuple[int, str]:
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        return 0, text
    names, body = rows[0], rows[1:]
    if not body or len(set(names)) < len(names):
        return 0, text
    # Rows that are too short or too long are judged by the cells that they have.
    table = pa.table({name: [_known(row, at) for row in body] for at, name in enumerate(names)})
    mask = gone(table)
    if not (count := _count(mask)):
        return 0, text
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(
        [names, *(row for row, goes in zip(body, (mask or pa.array([])).to_pylist(), strict=True) if not goes)]
    )
    return count, written.getvalue()


def _known(row: Sequence[str], at: int) -> str:
    return row[at].encode(errors="replace").decode() if at < len(row) else ""


def _pruned(value: Any, entity: Entity) -> tuple[int, Any]:
    """A JSON document without the objects of the entity that stand in its lists."""
    if isinstance(value, dict):
        made = {name: _pruned(member, entity) for name, member in value.items()}
        return sum(count for count, _ in made.values()), {name: member for name, (_, member) in made.items()}
    if not isinstance(value, list):
        return 0, value
    kept = [_pruned(member, entity) for member in value if not entity.is_event(member)]
    return len(value) - len(kept) + sum(count for count, _ in kept), [member for _, member in kept]


def _count(mask: pa.Array | None) -> int:
    return 0 if mask is None else pc.sum(mask).as_py() or 0


def is_open_log(file: Path) -> bool:
    """True for the file of a log that is not complete."""
    return file.suffix == OPEN_SUFFIX
