"""Where a stream remembers what is done: one place for one source, used by one process at a time.

A checkpoint may be given up whenever there is doubt. Everything in the folder is read again then, and an order that is
known changes nothing (`jobs/stream/micro_batch.py`).
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

from artefacts.process.atomic_files import write_atomically
from artefacts.process.file_locks import locked
from jobs.errors import JobError

_SPARKS = "query"
_SOURCE = "source.json"
_OLD_MARK = "first_batch"
_DIGEST = 10**9


def batch_number(spark_number: int, contents: Iterable[str]) -> int:
    """The number of a batch: Spark's own, then nine digits that stand for what is in it.

    Spark counts from 0 again in every new checkpoint, and goes back in one that was copied. A batch with other contents
    therefore has another number, and a batch that is done again has the same.
    """
    digest = hashlib.sha256()
    for one in sorted(contents):
        raw = one.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return spark_number * _DIGEST + int.from_bytes(digest.digest()[:16], "big") % _DIGEST


@contextmanager
def only_stream(*folders: Path) -> Iterator[None]:
    """Follow alone into these folders; the system frees them when the process ends, however it ends.

    Raises:
        JobError: another stream uses one of them.
    """
    with ExitStack() as held:
        for folder in sorted({folder.resolve() for folder in folders}):
            try:
                held.enter_context(locked(folder / ".stream.lock", wait=False))
            except BlockingIOError:
                raise JobError(
                    f"{folder}: another stream writes there; end it, or give this one folders of its own "
                    "(OUT= and STREAMED_ORDERS_DIR)"
                ) from None
        yield


def sparks_checkpoint(checkpoint: Path, followed: dict[str, str]) -> Path:
    """The folder for Spark, one that Spark can go on with or that is not there yet.

    Args:
        checkpoint: the stream's folder.
        followed: what says which source this is.

    Raises:
        JobError: the checkpoint is of another source.
    """
    sparks, source = checkpoint / _SPARKS, checkpoint / _SOURCE
    checkpoint.mkdir(parents=True, exist_ok=True)
    _remove_old_layout(checkpoint)
    known = _read(source)
    if known is not None and known != followed:
        differs = next(name for name in known | followed if known.get(name) != followed.get(name))
        raise JobError(
            f"{checkpoint}: remembers what is done of {differs} {known.get(differs)}, not of {followed.get(differs)}; "
            "give another OUT=, or remove that folder: everything is read again then, and orders that are known count "
            "as repeated"
        )
    if sparks.exists() and (known is None or not _is_whole(sparks)):
        _say_read_again(checkpoint, "parts of it are gone or damaged")
        shutil.rmtree(sparks)
    write_atomically(source, json.dumps(followed))
    return sparks


def _remove_old_layout(checkpoint: Path) -> None:
    """Earlier versions had Spark begin a new folder at each start, so none of them says what is done."""
    mark = checkpoint / _OLD_MARK
    old = [folder for folder in checkpoint.iterdir() if folder.is_dir() and _is_uuid(folder.name)]
    if mark.exists() or old:
        _say_read_again(checkpoint, "it was made by an earlier version, which lost orders when it was restarted")
        for folder in old:
            shutil.rmtree(folder)
        mark.unlink(missing_ok=True)


def _say_read_again(checkpoint: Path, reason: str) -> None:
    print(
        f"{checkpoint}: is not continued, because {reason}; everything is read again, and orders that are known count "
        "as repeated",
        flush=True,
    )


def _is_uuid(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True


def _read(source: Path) -> dict[str, str] | None:
    """None where nothing says which source it is."""
    try:
        found = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _is_whole(sparks: Path) -> bool:
    """False where Spark would leave out files, or stop, because a part of its notes is missing.

    Spark plans a batch in `sources` (which files) and `offsets` (up to where), does it, and notes that in `commits`.
    """
    offsets, commits = _numbered(sparks / "offsets"), _numbered(sparks / "commits")
    if not (sparks / "metadata").is_file():
        return False
    if not offsets:
        return not commits
    planned, done = max(offsets), max(commits, default=-1)
    if done not in (planned, planned - 1):
        return False
    try:
        up_to = json.loads((sparks / "offsets" / str(planned)).read_text(encoding="utf-8").splitlines()[2])
    except (OSError, ValueError, IndexError):
        return False
    if not isinstance(up_to, dict) or "logOffset" not in up_to:  # Kafka keeps what came itself
        return True
    log = sparks / "sources" / "0"
    listed = _numbered(log)
    compacted = max(_numbered(log, ".compact"), default=-1)
    return {*range(compacted + 1, up_to["logOffset"] + 1)} <= listed and max(listed | {compacted}) >= up_to["logOffset"]


def _numbered(folder: Path, suffix: str = "") -> set[int]:
    """Numbers of the files that Spark has written in a folder."""
    names = (file.name for file in folder.glob(f"*{suffix}")) if folder.is_dir() else ()
    return {int(name.removesuffix(suffix)) for name in names if name.removesuffix(suffix).isdecimal()}
