"""What each materialization did, one JSON object a line, for whoever looks after it."""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from jobs.errors import JobError

Outcome = Literal["done", "failed", "locked", "partly", "unverified"]


@dataclass
class ViewRecord:
    """What became of one view.

    written: rows.
    skipped: rows that were left alone because a newer one is stored.
    watermark: the newest event time that was read.
    resumed: the run went on where an earlier one was cut off.
    written_by: this job, or Feast's own run.
    verified: customers that were read back; `unverified`: some of them were not as written.
    """

    view: str
    written: int = 0
    skipped: int = 0
    seconds: float = 0.0
    watermark: datetime | None = None
    resumed: bool = False
    written_by: Literal["job", "feast"] = "job"
    verified: int = 0
    unverified: bool = False
    failure: str | None = None

    def wrote(self, written: int, of: int, newest: datetime | None) -> None:
        """Count a chunk: rows written of those read, and the newest event time among these."""
        self.written += written
        self.skipped += of - written
        if newest is not None:
            self.watermark = newest if self.watermark is None else max(newest, self.watermark)


@dataclass
class RunRecord:
    """What became of one run; times are UTC.

    until: rows with an event time up to this.
    build: the build of the offline store that was read.
    source: which orders it is made of.
    """

    started: datetime
    until: datetime
    build: str = ""
    source: str = ""
    outcome: Outcome = "failed"
    exit_code: int = JobError.exit_code
    seconds: float = 0.0
    error: str | None = None
    views: list[ViewRecord] = field(default_factory=list)

    def append_to(self, path: Path) -> None:
        """Add it as the last line of a file, which is made if need be.

        Raises:
            JobError: it cannot be written.
        """
        line = json.dumps(asdict(self), default=_shown, ensure_ascii=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            raise JobError(f"{path}: the run cannot be recorded: {error.strerror}") from None


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
