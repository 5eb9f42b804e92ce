"""Records of materializations: one JSON object per line, and the latest as metrics for Prometheus."""

import fcntl
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Gauge

from jobs.errors import JobError
from jobs.metrics_file import write_metrics

Outcome = Literal["done", "failed", "locked", "partly", "unverified", "refused"]


class PartlyError(JobError):
    """Some views could not be materialized; the others were."""

    exit_code = 4


class UnverifiedError(JobError):
    """Feast's SDK reads other values than were written."""

    exit_code = 5


@dataclass
class ViewRecord:
    """Result of one view.

    written: rows written.
    skipped: rows not written because a newer one is stored.
    removed: rows removed because the offline store has none of these entities.
    watermark: the newest event time that was read.
    resumed: the run continued an interrupted one.
    written_by: this job, or Feast's own run.
    verified: entities read back; `unverified`: some of them differed.
    """

    view: str
    written: int = 0
    skipped: int = 0
    removed: int = 0
    seconds: float = 0.0
    watermark: datetime | None = None
    resumed: bool = False
    written_by: Literal["job", "feast"] = "job"
    verified: int = 0
    unverified: bool = False
    failure: str | None = None

    def wrote(self, written: int, of: int, newest: datetime | None) -> None:
        """Add a chunk: rows written, rows read, and the newest event time read."""
        self.written += written
        self.skipped += of - written
        if newest is not None:
            self.watermark = newest if self.watermark is None else max(newest, self.watermark)


@dataclass
class RunRecord:
    """Result of one run; times are UTC.

    until: rows up to this event time were materialized.
    project: Feast's; empty if the run failed before it opened the store.
    build: the build of the offline store that was read.
    source: where the events came from of which it was made.
    newest_snapshot: ISO time of its newest windowed snapshot; the age of these features counts from it.
    """

    started: datetime
    until: datetime
    project: str = ""
    build: str = ""
    source: str = ""
    newest_snapshot: str = ""
    outcome: Outcome = "failed"
    exit_code: int = JobError.exit_code
    seconds: float = 0.0
    error: str | None = None
    views: list[ViewRecord] = field(default_factory=list)

    def raise_failures(self) -> None:
        """Raise an error if any view failed.

        Raises:
            UnverifiedError: a view was read back differently.
            PartlyError: some views failed, but not all.
            JobError: all views failed.
        """
        failed = [view for view in self.views if view.failure]
        if not failed:
            return
        failures = "; ".join(f"{view.view}: {view.failure}" for view in failed)
        if any(view.unverified for view in failed):
            raise UnverifiedError(failures)
        raise PartlyError(failures) if len(failed) < len(self.views) else JobError(failures)

    def append_to(self, path: Path) -> None:
        """Append this record to a file, creating it if absent, and update the metrics beside it.

        Raises:
            JobError: a file cannot be written.
        """
        line = json.dumps(asdict(self), default=_shown, ensure_ascii=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # another project's run may end now; the last metrics know both
                file.write(line + "\n")
                file.flush()
                write_metrics(metrics_of(path), path.parent, "materialize", of_features=True)
        except OSError as error:
            raise JobError(f"{path}: the run cannot be recorded: {error.strerror}") from None


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def metrics_of(records: Path) -> CollectorRegistry:
    """Prometheus metrics of the runs in a file, labelled with the Feast project: a run serves all its models."""
    registry = CollectorRegistry()
    last, success = _last_runs(records)

    def gauge(name: str, meaning: str, values: Mapping[str, float]) -> None:
        if values:
            made = Gauge(f"model_jobs_materialize_{name}", meaning, ["project"], registry=registry)
            for project, value in values.items():
                made.labels(project).set(value)

    gauge("last_run_timestamp_seconds", "When the last run ended", {of: _ended(run) for of, run in last.items()})
    gauge("last_run_seconds", "How long the last run took", {of: run["seconds"] for of, run in last.items()})
    codes = {of: run["exit_code"] for of, run in last.items()}
    gauge("last_exit_code", "Of the last run, see docs/materialization.md", codes)
    if last:
        written = Gauge(
            "model_jobs_materialize_written_rows",
            "Rows that the last run wrote",
            ["project", "view"],
            registry=registry,
        )
        for project, run in last.items():
            for view in run["views"]:
                written.labels(project, view["view"]).set(view["written"])
    ended = {of: _ended(run) for of, run in success.items()}
    gauge("last_success_timestamp_seconds", "When the last run that did everything ended", ended)
    found = {of: run["newest_snapshot"] for of, run in success.items() if run.get("newest_snapshot")}
    newest = {of: datetime.fromisoformat(snapshot).timestamp() for of, snapshot in found.items()}
    gauge("newest_snapshot_timestamp_seconds", "Time of the newest snapshot that it found", newest)
    return registry


def _last_runs(records: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The last run and the last complete one of each project; runs that found another run active are ignored.

    A run that did not name its project, because Feast's files could not be read, counts for that of the run before.
    """
    last, success, project = dict[str, dict[str, Any]](), dict[str, dict[str, Any]](), ""
    for line in records.read_text(encoding="utf-8").splitlines():
        try:
            run = json.loads(line)
        except ValueError:  # a crash cut it off
            continue
        project = run.get("project") or project
        if run["outcome"] != "locked":
            last[project] = run
            if run["outcome"] == "done":
                success[project] = run
    if len(last) > 1:
        last.pop("", None)
    return last, success


def _ended(run: dict[str, Any]) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(run["started"]).timestamp() + float(run["seconds"])
