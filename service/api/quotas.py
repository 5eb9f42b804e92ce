"""Quotas of API keys: requests and rows a minute, shared by all workers of a server."""

import fcntl
import logging
import math
import mmap
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from service.api.authentication import ANONYMOUS, KEY_NAME
from service.errors import QuotaExceededError, RequestTooLargeError, StartupError
from service.telemetry.quota_metrics import QuotaKind, QuotaMetrics

logger = logging.getLogger(__name__)

EVERY_OTHER = "*"
_MINUTE = 60.0
_ENTRY = re.compile(rf"({KEY_NAME.pattern}|\*)=([1-9][0-9]{{0,8}}|-)/([1-9][0-9]{{0,8}}|-)")


class Quota(NamedTuple):
    """What one API key may do in a minute; None: without limit."""

    requests: int | None
    rows: int | None


def parse_quotas(text: str) -> dict[str, Quota]:
    """Read `SERVICE_QUOTAS`: name of an API key, or `*` for every other one → quota.

    Args:
        text: `name=requests/rows` entries between commas or white space; `-` is no limit.

    Raises:
        StartupError: an entry is malformed, or a name stands twice.
    """
    quotas: dict[str, Quota] = {}
    for number, entry in enumerate(re.findall(r"[^\s,]+", text), start=1):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            what = "not `name=requests/rows`, whole numbers a minute, `-` for no limit, `*` for every other key"
            raise StartupError(f"SERVICE_QUOTAS, entry {number}: {what}")
        name, requests, rows = found.groups()
        if name in quotas:
            raise StartupError(f"SERVICE_QUOTAS, entry {number}: {name} has a quota already")
        quotas[name] = Quota(*(None if limit == "-" else int(limit) for limit in (requests, rows)))
    return quotas


class Quotas:
    """Counts what each API key has used, and refuses what is over its quota.

    Args:
        quotas: from `parse_quotas`.
        folder: where the workers of one server share what is used; None: this process is the only one.
        clock: seconds that only grow, the same in all workers.
    """

    def __init__(
        self,
        quotas: Mapping[str, Quota],
        metrics: QuotaMetrics,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quotas = quotas
        self._metrics = metrics
        self._folder = folder
        self._clock = clock
        self._buckets: dict[tuple[str, QuotaKind], _Bucket | None] = {}

    def without_key(self, names: Iterable[str]) -> list[str]:
        """Names that have a quota and are none of `names`, which have an API key."""
        return sorted(self._quotas.keys() - {*names, EVERY_OTHER, ANONYMOUS})

    def take_request(self, client: str) -> None:
        """Count one request.

        Raises:
            QuotaExceededError: it is over the quota of its key.
        """
        self._take(client, "requests", 1)

    def take_rows(self, client: str, rows: int) -> None:
        """Count the rows of one request.

        Raises:
            QuotaExceededError: they are over the quota of its key.
            RequestTooLargeError: they are more than the whole quota.
        """
        self._take(client, "rows", rows)

    def _take(self, client: str, kind: QuotaKind, count: int) -> None:
        try:
            bucket = self._buckets[client, kind]
        except KeyError:
            bucket = self._buckets[client, kind] = self._opened(client, kind)
        if bucket is None or not count:
            return
        if count > bucket.size:
            self._metrics.count(client, kind, "refused", count)
            what = f"{count} rows are more than the whole quota of this API key, {bucket.size} rows a minute"
            raise RequestTooLargeError(what)
        seconds = bucket.take(count)
        if seconds > 0:
            self._metrics.count(client, kind, "refused", count)
            what = f"the quota of this API key is used up: {bucket.size} {kind} a minute"
            raise QuotaExceededError(what, retry_after_seconds=math.ceil(seconds))
        self._metrics.count(client, kind, "used", count)

    def _opened(self, client: str, kind: QuotaKind) -> "_Bucket | None":
        quota = self._quotas.get(client) or self._quotas.get(EVERY_OTHER)
        size = None if quota is None else getattr(quota, kind)
        if size is None:
            return None
        self._metrics.limit(client, kind, size)
        file = None if self._folder is None else self._folder / f"{client}.{kind}.quota"
        try:
            return _Bucket(size, file, self._clock)
        except OSError as error:
            logger.warning("quota of %s: %s; this worker counts for itself", client, error)
            return _Bucket(size, None, self._clock)


class _Bucket:
    """A token bucket that holds `size` tokens and gets `size` more each minute, in memory that processes share.

    Kept as one number, the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371). A file
    of zeros is a full bucket.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, size: int, file: Path | None, clock: Callable[[], float]) -> None:
        self.size = size
        self._seconds_each = _MINUTE / size
        self._clock = clock
        self._lock: int | None = None
        if file is None:
            shared = mmap.mmap(-1, 8)
        else:
            self._lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(self._lock, 8)
            shared = mmap.mmap(self._lock, 8)
        self._full_at = memoryview(shared).cast("d")

    def take(self, count: int) -> float:
        """Take tokens: 0. If there are not enough, take none: seconds until there are."""
        if self._lock is None:
            return self._take(count)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # held for a microsecond; a process that ends frees it
        try:
            return self._take(count)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _take(self, count: int) -> float:
        now = self._clock()
        full_at = max(now, self._full_at[0]) + count * self._seconds_each
        over = full_at - now - _MINUTE
        if over > 1e-6:
            return over
        self._full_at[0] = full_at
        return 0.0
