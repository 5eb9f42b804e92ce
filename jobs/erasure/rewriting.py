"""Rewrites files without one entity's rows; each file is replaced in one step and keeps its time of change.

The time is kept because make compares it: a file that somebody delivered since stays newer.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.log_rows import COMPLETE_SUFFIX, OPEN_SUFFIX, flushed
from artefacts.process.atomic_files import replaced_file
from jobs.erasure.entity import Entity
from jobs.erasure.key_columns import unreadable
from jobs.errors import JobError

Rows = Callable[[pa.Table], "pa.Array | None"]
"""Rows of a table that are removed, boolean (n,); None if the table can have none."""


class OpenLogError(JobError):
    """A service writes to the file."""


@contextmanager
def replaced(file: Path) -> Iterator[Path]:
    """A path to write the new content to; it gets the file's permissions and times. A link stays one."""
    before = file.stat()
    with replaced_file(file.resolve(), durable=True) as partial:
        yield partial
        partial.chmod(before.st_mode & 0o777)
        os.utime(partial, ns=(before.st_atime_ns, before.st_mtime_ns))


def rows_in_parquet(file: Path, removed: Rows, columns: tuple[str, ...]) -> int:
    """Number of rows that are removed; reads only the columns that `removed` looks at.

    Raises:
        JobError: it cannot be read.
    """
    try:
        with pq.ParquetFile(file) as opened:
            read = [name for name in columns if name in opened.schema_arrow.names]
            return sum(
                count_of(removed(opened.read_row_group(group, columns=read))) for group in range(opened.num_row_groups)
            )
    except (pa.ArrowException, OSError) as error:
        raise JobError(f"{file}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def unreadable_parquet(file: Path, entity: Entity) -> str:
    """Why a Parquet file may have rows of the entity that cannot be told; empty if it cannot."""
    schema = pq.read_schema(file)
    if not entity.is_in(schema.names):
        nested = {name for field in schema for name in _nested(field.type)}
        return "the join key is a column inside another one" if entity.is_in({*schema.names, *nested}) else ""
    return next(filter(None, (unreadable(schema.field(name), value) for name, value in entity.values.items())), "")


def _nested(kind: pa.DataType) -> Iterator[str]:
    for at in range(kind.num_fields):
        yield kind.field(at).name
        yield from _nested(kind.field(at).type)


def rewrite_parquet(file: Path, removed: Rows, target: Path) -> None:
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
                mask = removed(table)
                kept = table if mask is None else table.filter(pc.invert(mask))
                if kept.num_rows:
                    writer.write_table(kept)
            if later := {key: value for key, value in said.items() if key not in of_schema}:
                writer.add_key_value_metadata(later)


def erase_parquet(file: Path, removed: Rows) -> None:
    """Replace the file."""
    with replaced(file) as partial:
        rewrite_parquet(file, removed, partial)


def rows_in_stream(file: Path, removed: Rows) -> int:
    """As `rows_in_parquet`, of the flushed rows of a log's open file."""
    try:
        return sum(count_of(removed(pa.Table.from_batches([batch]))) for batch in flushed(file))
    except FileNotFoundError:
        return 0
    except (pa.ArrowException, OSError) as error:
        raise JobError(f"{file}: cannot be read as inference log: {str(error).splitlines()[0]}") from None


def erase_stream(file: Path, removed: Rows) -> None:
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
            replaced(file) as partial,
            pa.OSFile(str(partial), "wb") as sink,
            pa.ipc.new_stream(sink, batches[0].schema) as writer,
        ):
            for batch in batches:
                table = pa.Table.from_batches([batch])
                mask = removed(table)
                kept = table if mask is None else table.filter(pc.invert(mask))
                if kept.num_rows:
                    writer.write_table(kept)


def count_of(mask: pa.Array | None) -> int:
    """How many rows are removed."""
    return 0 if mask is None else pc.sum(mask).as_py() or 0


def is_open_log(file: Path) -> bool:
    """True for the file of a log that is not complete."""
    return file.suffix == OPEN_SUFFIX
