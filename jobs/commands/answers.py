"""Commands that look after what was answered: inference log, audits, drift, labels, live quality."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from artefacts.addresses import Artefacts
from artefacts.process.command_line import Commands
from jobs.commands.options import between_option, id_key_option, quality_options
from jobs.settings import JobsSettings

if TYPE_CHECKING:
    from jobs.inference_log.logged_scores import Populations

COMMANDS = Commands()


@COMMANDS.command("why")
@click.option("--request", required=True, help="The answer's request_id.")
@click.option("--row", type=int, default=0, show_default=True, help="Position in a batch, from 0.")
@between_option("requested")
def why_command(request: str, row: int, since: datetime | None, until: datetime | None) -> None:
    """Show a logged decision: its features, its explanation, and the same score computed again."""
    from jobs.inference_log.why import DecisionQuery, why

    for line in why(Artefacts.of(os.environ).inference_log, DecisionQuery(request, row, since, until)):
        print(line)


@COMMANDS.command("publish-log")
@between_option("answered")
def publish_log_command(since: datetime | None, until: datetime | None) -> None:
    """Write the inference log to Feast's log of served features."""
    from jobs.inference_log.publish_to_feast import publish_log

    print(publish_log(Artefacts.of(os.environ), since, until))


@COMMANDS.command("audit-skew")
@between_option("decided")
@click.option("--out", type=Path, default=Path("var/skew"), show_default=True, help="Report's folder.")
@click.option("--sample", type=int, help="So many rows, at random; default all.")
@click.option("--max-unexplained", type=int, default=0, show_default=True, help="Allowed unexplained differences.")
@click.option("--max-faults", type=int, default=0, show_default=True, help="Allowed errors of types, columns or code.")
@click.option("--max-moved", type=float, default=0.01, show_default=True, help="Allowed share of other answers.")
@id_key_option
def audit_skew_command(
    since: datetime | None,
    until: datetime | None,
    out: Path,
    sample: int | None,
    max_unexplained: int,
    max_faults: int,
    max_moved: float,
    id_key_file: Path | None,
) -> None:
    """Compare what was served with what the offline store gives for the same time."""
    from jobs.skew.audit import Audit, audit_skew, outcome_line

    allowed = (max_unexplained, max_faults, max_moved)
    audit = Audit(
        *(out, since, until, sample, id_key_file, *allowed), build_max_age_hours=JobsSettings().build_max_age_hours
    )
    print(f"{outcome_line(audit_skew(Artefacts.of(os.environ), audit))}\n  {out / 'skew.html'}")


@COMMANDS.command("drift")
@between_option("requested")
@click.option("--out", type=Path, default=Path("var/drift"), show_default=True, help="Report's folder.")
@click.option("--baseline", help="training, promoted, or <from>..<to> of the log; default JOBS_DRIFT_BASELINE.")
def drift_command(since: datetime | None, until: datetime | None, out: Path, baseline: str | None) -> None:
    """Compare served inputs and scores with training, or with earlier answers."""
    from jobs.drift.watch import DriftWatch, outcome_line, watch_drift

    watch = DriftWatch.of(JobsSettings(), out, since, until, baseline)
    print(outcome_line(watch_drift(Artefacts.of(os.environ).inference_log, watch)))


@COMMANDS.command("labels")
@between_option("requested")
@click.option("--out", type=Path, required=True, help="The Parquet file to write.")
@click.option("--days", type=int, help="Length of labels where a model's contract does not tell it.")
@id_key_option
def labels_command(
    since: datetime | None, until: datetime | None, out: Path, days: int | None, id_key_file: Path | None
) -> None:
    """Label logged predictions with what came of them, once it is known."""
    from jobs.quality.labels import LabelRequest, make_labels

    wanted = LabelRequest(out, days, since, until, id_key_file)
    print(f"{make_labels(Artefacts.of(os.environ), os.environ, wanted)}\n  {out}")


@COMMANDS.command("live-quality")
@click.option(
    *("--max-loss", "--max-auc-loss", "max_loss"),
    type=float,
    default=0.05,
    show_default=True,
    help="Allowed loss of the headline metric against training, newest week; --max-auc-loss is its older name.",
)
@quality_options(labels_required=True)
def live_quality_command(
    since: datetime | None,
    until: datetime | None,
    labels: Path,
    out: Path,
    resamples: int,
    max_loss: float,
    populations: "Populations",
) -> None:
    """Compare predictions with labels, by model and week."""
    from jobs.quality.live_quality import QualityCheck, live_quality

    check = QualityCheck(labels, out, since, until, max_loss, resamples, populations)
    live_quality(Artefacts.of(os.environ), check)
    print(f"  {out / 'live_quality.html'}")


@COMMANDS.command("compare-live")
@quality_options(labels_required=False)
def compare_live_command(
    since: datetime | None,
    until: datetime | None,
    labels: Path | None,
    out: Path,
    resamples: int,
    populations: "Populations",
) -> None:
    """Compare champion and challenger on the rows that both scored."""
    from jobs.quality.compare_live import LiveComparison, compare_live

    compare_live(Artefacts.of(os.environ), LiveComparison(out, labels, since, until, resamples, populations))
    print(f"  {out / 'compare_live.html'}")
