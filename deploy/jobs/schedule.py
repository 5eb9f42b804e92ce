"""Runs the jobs of deploy/compose.yaml on schedule, one at a time: `python deploy/jobs/schedule.py [first]`.

It replaces cron, which needs root, a writable root file system and a log file. Times are UTC. `first` runs once what
all jobs need: source data, features, the online store, a champion. Steps that the use case does not have are left out.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

FIRST = (
    ("training", "data"),
    ("jobs", "apply"),
    ("jobs", "features"),
    ("jobs", "materialize"),
    ("training", "train"),
)


@dataclass(frozen=True)
class Job:
    """Commands that run in turn until one fails.

    minute, hour, weekday: when it runs; None is every hour or day; weekday 0 is Monday.
    """

    name: str
    commands: Sequence[Sequence[str]]
    minute: int
    hour: int | None = None
    weekday: int | None = None

    def next_after(self, moment: datetime) -> datetime:
        """The first time after `moment` when it is due."""
        due = moment.replace(minute=self.minute, second=0, microsecond=0)
        while due <= moment or self.hour not in (None, due.hour) or self.weekday not in (None, due.weekday()):
            due += timedelta(hours=1)
        return due


REPORTS = "/artefacts/reports"
LABELS = f"{REPORTS}/labels.parquet"
IMPORT = ("training", "import-model")  # the reports are about the champion; the local model store keeps it
JOBS = (
    # Moves a shipped sample so that it ends yesterday; data of your own stay unchanged.
    Job(
        "features", (("training", "data", "--follow-today"), ("jobs", "apply"), ("jobs", "features")), minute=15, hour=0
    ),
    Job("materialize", (("jobs", "materialize"),), minute=45),
    # Two days: yesterday's audit may have left rows that could not be judged yet.
    Job("audit-skew", (IMPORT, ("jobs", "audit-skew", "--since", "2d", "--out", f"{REPORTS}/skew")), minute=30, hour=2),
    Job("drift", (IMPORT, ("jobs", "drift", "--out", f"{REPORTS}/drift")), minute=30, hour=3),
    Job(
        "live-quality",
        (
            IMPORT,
            ("jobs", "labels", "--out", LABELS),
            ("jobs", "live-quality", "--labels", LABELS, "--out", f"{REPORTS}/live_quality"),
        ),
        minute=30,
        hour=5,
    ),
    Job("retrain", (("training", "retrain"),), minute=30, hour=4, weekday=6),
)


def there(commands: Iterable[Sequence[str]], use_case: Path) -> list[Sequence[str]]:
    """The commands without those that the use case has no use for.

    The use case whose features it uses (docs/use-cases.md) has data to fetch if there is a `data.py` in its folder, and
    features to build if there is a `features.py`. The shipped one has both.
    """
    owner = use_case
    if not (use_case / "feature_repo").is_dir():
        if not (file := use_case / "features_of").is_file():
            return list(commands)
        owner = Path(file.read_text("utf-8").strip())
    absent = {name for name in ("data", "features") if not (owner / f"{name}.py").exists()}
    return [command for command in commands if command[1] not in absent]


def run(name: str, commands: Iterable[Sequence[str]]) -> int:
    """Run commands in turn; returns the exit code of the first that fails, else 0."""
    for command in commands:
        began = time.monotonic()
        code = subprocess.run([sys.executable, "-m", *command], check=False).returncode
        print(f"{name}: {' '.join(command)}: exit code {code} after {time.monotonic() - began:.0f} s", flush=True)
        if code:
            return code
    return 0


def run_forever(jobs: Sequence[Job], use_case: Path) -> None:
    """Run each job when it is due. A job that becomes due while another runs follows it, once."""
    due = {job: job.next_after(datetime.now(UTC)) for job in jobs}
    while True:
        job = min(due, key=lambda job: due[job])
        while (wait := (due[job] - datetime.now(UTC)).total_seconds()) > 0:
            time.sleep(min(wait, 60))  # a changed clock delays it by a minute at most
        due[job] = job.next_after(datetime.now(UTC))
        run(job.name, there(job.commands, use_case))


def _end(*_: Any) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    folder = Path(os.environ.get("USE_CASE") or "training/churn")
    if sys.argv[1:] == ["first"]:
        sys.exit(run("first", there(FIRST, folder)))
    run_forever(JOBS, folder)
