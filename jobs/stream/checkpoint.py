"""A stream's checkpoint: remembers which batches of one source are done; one process uses it at a time.

A doubtful checkpoint can be discarded. Then everything in the folder is read again, and known orders change nothing
(`jobs/stream/micro_batch.py`).
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

from artefacts.process.atomic_files import write_atomically
from artefacts.process.file_locks import locked
from jobs.errors import JobError

_LOG = logging.getLogger(__name__)

_SPARK_FOLDER = "query"
_SOURCE = "source.json"
_OLD_MARK = "first_batch"
_DIGEST = 10**9


def batch_number(spark_number: int, contents: Iterable[str]) -> int:
    """Number of a batch: Spark's number, then nine digits of a digest of its contents.

    Spark counts from 0 in every new checkpoint, and counts back in a restored copy. With the digest, a repeated batch
    has the same number and a batch with other contents has another.
    """
    digest = hashlib.sha256()
    for one in sorted(contents):
        raw = one.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return spark_number * _DIGEST + int.from_bytes(digest.digest()[:16], "big") % _DIGEST


@contextmanager
def stream_lock(*folders: Path) -> Iterator[None]:
    """Lock these folders for one stream; the system releases the locks when the process ends.

    Raises:
        JobError: another stream uses one of them.
    """
    with ExitStack() as held:
        for folder in sorted({folder.resolve() for folder in folders}):
            try:
                held.enter_context(locked(folder / ".stream.lock", wait=False))
            except BlockingIOError:
                raise JobError(
                    f"{folder}: another stream writes there; stop it, or give this one other folders "
                    "(OUT= and STREAMED_ORDERS_DIR)"
                ) from None
        yield


def spark_checkpoint(checkpoint: Path, followed: dict[str, str]) -> Path:
    """Prepare Spark's checkpoint folder: one that Spark can continue, or none yet.

    Args:
        checkpoint: the stream's folder.
        followed: identifies the source.

    Raises:
        JobError: the checkpoint belongs to another source.
    """
    spark_folder, source = checkpoint / _SPARK_FOLDER, checkpoint / _SOURCE
    checkpoint.mkdir(parents=True, exist_ok=True)
    _remove_old_layout(checkpoint)
    known = _read_source(source)
    if known is not None and known != followed:
        differs = next(name for name in known | followed if known.get(name) != followed.get(name))
        raise JobError(
            f"{checkpoint}: belongs to {differs} {known.get(differs)}, not {followed.get(differs)}; give another OUT=, "
            "or remove that folder: then everything is read again, and known orders count as repeated"
        )
    if spark_folder.exists() and (known is None or not _is_complete(spark_folder)):
        _log_read_again(checkpoint, "parts of it are missing or damaged")
        shutil.rmtree(spark_folder)
    write_atomically(source, json.dumps(followed))
    return spark_folder


def _remove_old_layout(checkpoint: Path) -> None:
    """Remove an earlier version's folders: Spark began a new one at each start, so they do not tell what is done."""
    mark = checkpoint / _OLD_MARK
    old = [folder for folder in checkpoint.iterdir() if folder.is_dir() and _is_uuid(folder.name)]
    if mark.exists() or old:
        _log_read_again(checkpoint, "it was made by an earlier version, which lost orders when it was restarted")
        for folder in old:
            shutil.rmtree(folder)
        mark.unlink(missing_ok=True)


def _log_read_again(checkpoint: Path, reason: str) -> None:
    _LOG.warning(
        f"{checkpoint}: not continued, because {reason}; everything is read again, and known orders count as repeated",
    )


def _is_uuid(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True


def _read_source(source: Path) -> dict[str, str] | None:
    """The source of a checkpoint; None if unknown."""
    try:
        found = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _is_complete(spark_folder: Path) -> bool:
    """False if parts of Spark's checkpoint are missing, so that Spark would skip files or stop.

    Spark plans a batch in `sources` (which files) and `offsets` (up to where), does it, and notes it in `commits`.
    """
    offsets, commits = _numbered(spark_folder / "offsets"), _numbered(spark_folder / "commits")
    if not (spark_folder / "metadata").is_file():
        return False
    if not offsets:
        return not commits
    planned, done = max(offsets), max(commits, default=-1)
    if done not in (planned, planned - 1):
        return False
    try:
        up_to = json.loads((spark_folder / "offsets" / str(planned)).read_text(encoding="utf-8").splitlines()[2])
    except (OSError, ValueError, IndexError):
        return False
    if not isinstance(up_to, dict) or "logOffset" not in up_to:  # Kafka itself keeps the orders
        return True
    log = spark_folder / "sources" / "0"
    listed = _numbered(log)
    compacted = max(_numbered(log, ".compact"), default=-1)
    return {*range(compacted + 1, up_to["logOffset"] + 1)} <= listed and max(listed | {compacted}) >= up_to["logOffset"]


def _numbered(folder: Path, suffix: str = "") -> set[int]:
    """Numbers of the files that Spark has written in a folder."""
    names = (file.name for file in folder.glob(f"*{suffix}")) if folder.is_dir() else ()
    return {int(name.removesuffix(suffix)) for name in names if name.removesuffix(suffix).isdecimal()}
