"""Command line of the jobs: `python -m jobs <command>`; the make targets call it."""

import argparse
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from artefacts.addresses import Artefacts
from artefacts.process.command_line import OneLineParser, warn_of_unknown
from artefacts.process.printable import printable_output
from artefacts.process.redaction import redacted
from contract import ContractError
from contract.errors import setting_problem
from jobs.errors import JobError
from jobs.settings import JobsSettings
from jobs.times import refuse_nothing_between, utc
from scoring.errors import ModelError


@printable_output()
def main(arguments: list[str] | None = None) -> int:
    """Run one job; 0 on success, else the error's exit code, with one line on stderr.

    Raises:
        SystemExit: of code 2, the arguments are wrong.
    """
    parser = OneLineParser(prog="python -m jobs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("redis-up", help="start the embedded Redis unless REDIS_URL is set")
    commands.add_parser("redis-down", help="stop the embedded Redis")
    features = commands.add_parser("features", help="orders → offline store")
    features.add_argument("--engine", choices=["duckdb", "spark"], default="duckdb", help="what computes them")
    features.add_argument("--full", action="store_true", help="compute everything, not only what changed")
    commands.add_parser("apply", help="register the definitions of feature_repo/")
    to_redis = commands.add_parser("materialize", help="offline store → Redis")
    to_redis.add_argument("--until", type=_utc, default=None, help="ISO time, UTC; default now")
    to_redis.add_argument("--replace", action="store_true", help="write every row, also over newer ones")
    to_redis.add_argument("--take-over", action="store_true", help="as --replace, if the rows are another owner's")
    to_redis.add_argument("--full", action="store_true", help="write every row, not only what changed")
    score = commands.add_parser("score-batch", help="offline store → predictions in Parquet")
    score.add_argument("--as-of", type=_utc, default=None, help="ISO time, UTC; default now")
    score.add_argument("--out", type=Path, required=True, help="folder of all predictions")
    score.add_argument("--customers", type=Path, default=None, help="a .csv or .parquet of customers; default all")
    score.add_argument("--engine", choices=["duckdb", "spark"], default="duckdb", help="what reads and scores")
    score.add_argument("--model", default=None, help="tag in the BentoML store; default the imported one")
    stream = commands.add_parser("score-stream", help="new orders → features, online and offline → predictions")
    stream.add_argument("--source", choices=["json", "parquet", "kafka"], default="json")
    stream.add_argument("--incoming", type=Path, required=True, help="folder in which files of orders appear")
    stream.add_argument("--out", type=Path, required=True, help="folder of predictions, checkpoint and dead letters")
    stream.add_argument("--once", action="store_true", help="end when everything that is there has been done")
    stream.add_argument("--as-of", type=_utc, default=None, help="ISO time of scoring, UTC; default that of each batch")
    stream.add_argument("--model", default=None, help="tag in the BentoML store; default the imported one")
    asked = commands.add_parser("why", help="a logged decision: what it was made of, explained, and computed again")
    asked.add_argument("--request", required=True, help="the answer's request_id")
    asked.add_argument("--row", type=int, default=0, help="position in a batch, from 0")
    _add_times(asked, "asked for")
    publish = commands.add_parser("publish-log", help="inference log → Feast's log of served features")
    _add_times(publish, "answered")
    skew = commands.add_parser("audit-skew", help="what was served, held against the offline store at its own time")
    _add_times(skew, "decided")
    skew.add_argument("--out", type=Path, default=Path("var/skew"), help="folder of the report")
    skew.add_argument("--sample", type=int, default=None, help="so many rows at random; default all")
    skew.add_argument("--max-unexplained", type=int, default=0, help="differences that may lack an explanation")
    skew.add_argument("--max-faults", type=int, default=0, help="differences by other types, order or code")
    skew.add_argument("--max-moved", type=float, default=0.01, help="share of decisions that may come out otherwise")
    skew.add_argument("--id-key-file", type=Path, default=None, help="key of the log's pseudonyms, if it has any")
    watched = commands.add_parser("drift", help="what was served, held against training or earlier answers")
    _add_times(watched, "asked for")
    watched.add_argument("--out", type=Path, default=Path("var/drift"), help="folder of the report")
    watched.add_argument(
        "--baseline", default=None, help="training, promoted, or <from>..<to> of the log; default JOBS_DRIFT_BASELINE"
    )
    labels = commands.add_parser("labels", help="inference log + orders → who had left, once it can be known")
    _add_times(labels, "asked for")
    labels.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
    labels.add_argument("--days", type=int, default=None, help="of models whose contract does not tell the label's")
    labels.add_argument("--id-key-file", type=Path, default=None, help="key of the log's pseudonyms, if it has any")
    quality = commands.add_parser("live-quality", help="inference log + labels → how good the answers were")
    _add_judging(quality, labels_required=True)
    quality.add_argument("--max-auc-loss", type=float, default=0.05, help="allowed below training, newest week")
    _add_judging(commands.add_parser("compare-live", help="champion and challenger on the rows that both scored"))
    commands.add_parser("feast-env", help="the variables that feast's own commands need, as shell exports")
    first = commands.add_parser("first-prediction", help="wait for a service and show how to ask it")
    first.add_argument("--host", required=True, help="the IP address that it listens on")
    first.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args(arguments)
    warn_of_unknown(os.environ, "JOBS_", JobsSettings.model_fields, "the jobs")
    try:
        _run(chosen)
    except JobError as error:
        print(f"{error.prefix}: {error}", file=sys.stderr)
        return error.exit_code
    except (ModelError, ContractError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValidationError as error:
        print(f"error: {setting_problem(error, 'JOBS_')}", file=sys.stderr)
        return 1
    return 0


def _add_times(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--since", type=_utc, default=None, help=f"ISO time, UTC: {what} no earlier")
    command.add_argument("--until", type=_utc, default=None, help=f"ISO time, UTC: {what} before it")


def _add_judging(command: argparse.ArgumentParser, labels_required: bool = False) -> None:
    _add_times(command, "asked for")
    command.add_argument("--labels", type=Path, required=labels_required, help=".parquet or .csv: request_id, churned")
    command.add_argument("--out", type=Path, default=Path("var/live_quality"), help="folder of the report")
    command.add_argument("--resamples", type=int, default=200, help="of the bootstrap")
    command.add_argument("--active-feature", default=None, help="tells who is active; default the contract's")
    command.add_argument(
        "--active-days", type=float, default=None, help="at most so much of it; default the contract's"
    )


def _utc(text: str) -> datetime:
    try:
        return utc(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an ISO date or time") from None


def _run(chosen: argparse.Namespace) -> None:
    artefacts = Artefacts.of(os.environ)
    refuse_nothing_between(getattr(chosen, "since", None), getattr(chosen, "until", None))
    if chosen.command == "redis-up":
        from jobs.local import embedded_redis

        if os.environ.get("REDIS_URL") or os.environ.get("REDIS_URL_FILE"):
            print("using REDIS_URL from the environment")
        else:
            print(f"embedded Redis: {embedded_redis.start()}")
    elif chosen.command == "redis-down":
        from jobs.local import embedded_redis

        print("embedded Redis stopped" if embedded_redis.stop() else "no embedded Redis was up")
    elif chosen.command == "features":
        from jobs.features.build import build_features
        from jobs.features.build_plan import reach

        now = datetime.now(UTC)
        build = build_features(artefacts, JobsSettings(), now, chosen.engine, chosen.full)
        print(f"{artefacts.offline_store}: {reach(build, now)}")
    elif chosen.command == "apply":
        from jobs.feature_store import apply

        apply(artefacts)
        print(f"applied feature_repo/ to {redacted(artefacts.feast_registry)}")
    elif chosen.command == "materialize":
        from jobs.materialization.materialize import materialize

        materialize(artefacts, chosen.until, chosen.replace, chosen.full, take_over=chosen.take_over)
    elif chosen.command == "score-batch":
        from jobs.batch.score_batch import Order, report, score_batch
        from scoring.models.model_store import open_model, pinned_tag

        now = datetime.now(UTC)
        order = Order(chosen.as_of or now.replace(microsecond=0), chosen.out, chosen.customers)
        model = open_model(chosen.model or pinned_tag(artefacts))
        if chosen.engine == "spark":
            from jobs.batch.score_batch_spark import score_batch_on_spark

            print(report(score_batch_on_spark(artefacts, model, order, JobsSettings(), now)))
        else:
            print(report(score_batch(artefacts, model, order, now)))
    elif chosen.command == "score-stream":
        from jobs.stream.micro_batch import StreamFolders
        from jobs.stream.score_stream import Stream, score_stream
        from scoring.models.model_store import open_model, pinned_tag

        folders = StreamFolders(chosen.out / "predictions", chosen.out / "dead_letters")
        checkpoint = chosen.out / "checkpoint"
        followed = Stream(chosen.source, chosen.incoming, checkpoint, folders, chosen.once, chosen.as_of)
        score_stream(artefacts, open_model(chosen.model or pinned_tag(artefacts)), followed, JobsSettings())
    elif chosen.command == "why":
        from jobs.inference_log.why import Asked, why

        for line in why(artefacts.inference_log, Asked(chosen.request, chosen.row, chosen.since, chosen.until)):
            print(line)
    elif chosen.command == "publish-log":
        from jobs.inference_log.publish_to_feast import publish_log

        print(publish_log(artefacts, chosen.since, chosen.until))
    elif chosen.command == "audit-skew":
        from jobs.skew.audit import Audit, audit_skew, outcome_line

        allowed = (chosen.max_unexplained, chosen.max_faults, chosen.max_moved)
        audit = Audit(
            *(chosen.out, chosen.since, chosen.until, chosen.sample, chosen.id_key_file, *allowed),
            build_max_age_hours=JobsSettings().build_max_age_hours,
        )
        print(f"{outcome_line(audit_skew(artefacts, audit))}\n  {chosen.out / 'skew.html'}")
    elif chosen.command == "drift":
        from jobs.drift.watch import DriftWatch, outcome_line, watch_drift

        watch = DriftWatch.of(JobsSettings(), chosen.out, chosen.since, chosen.until, chosen.baseline)
        print(outcome_line(watch_drift(artefacts.inference_log, watch)))
    elif chosen.command == "labels":
        from jobs.quality.labels import LabelRequest, make_labels

        wanted = LabelRequest(chosen.out, chosen.days, chosen.since, chosen.until, chosen.id_key_file)
        print(f"{make_labels(artefacts, wanted)}\n  {chosen.out}")
    elif chosen.command == "live-quality":
        from jobs.inference_log.logged_scores import Active
        from jobs.quality.live_quality import QualityCheck, live_quality

        active = Active(chosen.active_feature, chosen.active_days)
        times = (chosen.since, chosen.until)
        check = QualityCheck(chosen.labels, chosen.out, *times, chosen.max_auc_loss, chosen.resamples, active)
        live_quality(artefacts, check)
        print(f"  {chosen.out / 'live_quality.html'}")
    elif chosen.command == "compare-live":
        from jobs.inference_log.logged_scores import Active
        from jobs.quality.compare_live import LiveComparison, compare_live

        active = Active(chosen.active_feature, chosen.active_days)
        times = (chosen.since, chosen.until)
        compare_live(artefacts, LiveComparison(chosen.out, chosen.labels, *times, chosen.resamples, active))
        print(f"  {chosen.out / 'compare_live.html'}")
    elif chosen.command == "feast-env":
        for name, value in artefacts.feast_environment().items():
            print(f"export {name}={shlex.quote(value)}")
    elif chosen.command == "first-prediction":
        from jobs.local.first_prediction import first_prediction, known_customer
        from jobs.local.listening import url_of

        first_prediction(url_of(chosen.host, chosen.port), known_customer(artefacts.orders))


if __name__ == "__main__":
    sys.exit(main())
