"""Commands that predict without a service, or show how to ask one."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from artefacts.addresses import Artefacts
from artefacts.process.command_line import Commands, utc_time
from jobs.commands.options import ENGINES, model_option
from jobs.settings import JobsSettings

COMMANDS = Commands()


@COMMANDS.command("score-batch")
@click.option("--as-of", type=utc_time, help="ISO time, UTC; default now.")
@click.option("--out", type=Path, required=True, help="Folder of all predictions.")
@click.option("--entities", type=Path, help="A .csv or .parquet with a column of keys; default all.")
@click.option("--engine", type=ENGINES, default="duckdb", show_default=True, help="Reads and scores.")
@model_option
def score_batch_command(
    as_of: datetime | None, out: Path, entities: Path | None, engine: str, model: str | None
) -> None:
    """Predict for every key of the offline store, or a list, into Parquet."""
    from jobs.batch.score_batch import BatchRequest, report, score_batch
    from scoring.models.model_store import open_model, pinned_tag

    artefacts = Artefacts.of(os.environ)
    now = datetime.now(UTC)
    request = BatchRequest(as_of or now.replace(microsecond=0), out, entities)
    opened = open_model(model or pinned_tag(artefacts))
    if engine == "spark":
        from jobs.batch.score_batch_spark import score_batch_on_spark

        print(report(score_batch_on_spark(artefacts, opened, request, JobsSettings(), now)))
    else:
        print(report(score_batch(artefacts, opened, request, now)))


@COMMANDS.command("score-stream")
@click.option(
    "--source", type=click.Choice(["json", "parquet", "kafka"]), default="json", show_default=True, help="Of events."
)
@click.option("--incoming", type=Path, required=True, help="Folder in which files of events appear.")
@click.option("--out", type=Path, required=True, help="Folder of predictions, checkpoint and dead letters.")
@click.option("--once", is_flag=True, help="End when every event that is there has been scored.")
@click.option("--as-of", type=utc_time, help="ISO time of scoring, UTC; default the time of each batch.")
@model_option
def score_stream_command(
    source: Literal["json", "parquet", "kafka"],
    incoming: Path,
    out: Path,
    once: bool,
    as_of: datetime | None,
    model: str | None,
) -> None:
    """Follow new events: write their features, online and offline, and predict."""
    from jobs.features.source import EventSource
    from jobs.stream.micro_batch import StreamFolders
    from jobs.stream.score_stream import Stream, score_stream
    from scoring.models.model_store import open_model, pinned_tag

    artefacts = Artefacts.of(os.environ)
    folders = StreamFolders(out / "predictions", out / "dead_letters")
    followed = Stream(source, incoming, out / "checkpoint", folders, once, as_of)
    opened = open_model(model or pinned_tag(artefacts))
    score_stream(artefacts, EventSource.of(os.environ), opened, followed, JobsSettings())


@COMMANDS.command("first-prediction")
@click.option("--host", required=True, help="The IP address on which the service listens.")
@click.option("--port", type=int, required=True)
def first_prediction_command(host: str, port: int) -> None:
    """Wait for a service and show how to ask it."""
    from jobs.local.first_prediction import first_prediction
    from jobs.local.listening import url_of

    first_prediction(url_of(host, port), Artefacts.of(os.environ))
