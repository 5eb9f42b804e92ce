"""Reads the files in which workers keep their metrics, and leaves out damaged ones."""

import logging
import re
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from artefacts.process.small_files import read_small_file

if TYPE_CHECKING:
    from prometheus_client import Metric

logger = logging.getLogger(__name__)

_LARGEST_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"(?:counter|histogram|summary|gauge_[a-z]+)_[0-9]+\.db")
_HEAD_BYTES = 8
_VALUE_BYTES = 16

_said: set[str] = set()


def merged(folder: Path) -> "tuple[list[Metric], int]":
    """Add up the metrics of all workers; return them and the number of damaged files that were left out."""
    from prometheus_client.multiprocess import MultiProcessCollector

    files = [file for file in sorted(folder.glob("*.db")) if not _is_new(file)]
    good = [file for file in files if _is_whole(file)]
    try:
        return list(_merge(good)), _damaged(files, good)
    except Exception:  # a file has parts of the right lengths, but no metrics
        good = [file for file in good if _can_be_merged(file)]
        return list(MultiProcessCollector.merge(map(str, good))), _damaged(files, good)  # type: ignore[no-untyped-call]


def _damaged(files: Iterable[Path], good: Iterable[Path]) -> int:
    """Count the damaged files. One that has gone is not damaged: other workers remove those of dead workers."""
    return sum(file.exists() for file in {*files} - {*good})


def _merge(files: Iterable[Path]) -> "Iterable[Metric]":
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    found: list[Metric] = list(MultiProcessCollector.merge(map(str, files)))  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(found))
    generate_latest(registry)
    return found


class _Fixed:
    def __init__(self, metrics: "list[Metric]") -> None:
        self._metrics = metrics

    def collect(self) -> "list[Metric]":
        return self._metrics


def _can_be_merged(file: Path) -> bool:
    try:
        _merge([file])
    except Exception as error:
        return _left_out(file, type(error).__name__)
    return True


def _is_new(file: Path) -> bool:
    """True if a worker is just making the file, or ended while it did."""
    try:
        seen = file.stat()
    except OSError:
        return False
    return stat.S_ISREG(seen.st_mode) and seen.st_size == 0


def _is_whole(file: Path) -> bool:
    """False for a file that would block, fill up or break the reading of all files."""
    if not _NAME.fullmatch(file.name):
        return _left_out(file, "not a name that a worker gives")
    try:
        content = read_small_file(file, _LARGEST_BYTES)
    except FileNotFoundError:
        return False
    except OSError as error:
        return _left_out(file, error.strerror or type(error).__name__)
    return _parts_fit(content) or _left_out(file, "damaged")


def _parts_fit(content: bytes) -> bool:
    """Whether the lengths that a file says of its parts are those that it has; prometheus_client trusts them."""
    try:
        (used,) = struct.unpack_from("i", content)
        at = _HEAD_BYTES
        while at < used:
            (length,) = struct.unpack_from("i", content, at)
            if length <= 0:
                return False
            at += 4 + length + (8 - (length + 4) % 8) + _VALUE_BYTES
    except struct.error:
        return False
    return bool(used <= len(content) and at == max(used, _HEAD_BYTES))


def _left_out(file: Path, why: str) -> bool:
    if file.name not in _said and len(_said) < 1000:
        _said.add(file.name)
        logger.warning("metrics: %s is left out: %s; remove it", file, why)
    return False
