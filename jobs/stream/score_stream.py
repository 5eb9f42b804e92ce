"""Follows new orders with Spark Structured Streaming; `StreamBatches` processes each micro-batch."""

import hashlib
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlparse

from artefacts.addresses import Artefacts
from artefacts.errors import SourceError
from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.features.source import EventSource
from jobs.materialization.redis_store.redis_client import client_beside
from jobs.settings import JobsSettings
from jobs.spark import spark_path, spark_session
from jobs.stream.checkpoint import batch_number, spark_checkpoint, stream_lock
from jobs.stream.metrics import StreamMetrics
from jobs.stream.micro_batch import BatchRecord, StreamBatches, StreamFolders
from jobs.stream.order_events import Event, read_json, read_parquet, split_events
from scoring.models.imported_model import ImportedModel
from training.churn.source.orders_file import orders_file

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

_LOG = logging.getLogger(__name__)

Source = Literal["json", "parquet", "kafka"]
_MAX_PAUSE_SECONDS = 30.0
_MAX_FILE_AGE = "36500d"
"""Spark's default, a week before the newest file, would silently skip files written long before they are moved in."""


@dataclass(frozen=True)
class Stream:
    """A stream to follow.

    incoming: folder into which complete files of orders are moved; unused with Kafka.
    checkpoint: folder that remembers finished batches; with a new one, everything is read again.
    once: stop after everything that is there now.
    as_of: time of scoring; None is the time of each batch.
    """

    source: Source
    incoming: Path
    checkpoint: Path
    folders: StreamFolders
    once: bool = False
    as_of: datetime | None = None


def score_stream(
    artefacts: Artefacts, source: EventSource, model: ImportedModel, stream: Stream, settings: JobsSettings
) -> None:
    """Follow the stream until SIGTERM or SIGINT, or to its end with `stream.once`.

    A batch is tried again while a store does not answer. The next start repeats a batch that was interrupted.

    Raises:
        JobError: Spark or a setting cannot be used, no Redis address is known, the rows in Redis are another owner's,
            another stream writes into the same folders, or the checkpoint belongs to another source.
        ContractError: the registry does not fulfil the model's contract.
    """
    if artefacts.redis_url is None:
        raise JobError("REDIS_URL is not set and no embedded server runs; `make redis` starts one")
    with stream_lock(source.streamed_orders, stream.checkpoint.parent):
        _follow(artefacts, source, model, stream, settings)


def _follow(
    artefacts: Artefacts, source: EventSource, model: ImportedModel, stream: Stream, settings: JobsSettings
) -> None:
    stream.incoming.mkdir(parents=True, exist_ok=True)
    checkpoint = spark_checkpoint(stream.checkpoint, _source_identity(stream, settings))
    store = open_feature_store(artefacts)
    client = client_beside(store, str(artefacts.redis_url))
    batches = StreamBatches(artefacts, source, store, client, model, stream.folders, settings)
    batches.claim()
    metrics = StreamMetrics(model.contract.model_name, settings.stream_metrics_port)
    stopping = threading.Event()

    def process_and_report(attempt: Callable[[], BatchRecord]) -> None:
        record = _retry(attempt, stopping)
        metrics.count(record)
        print(json.dumps(asdict(record)), flush=True)

    def process_frame(frame: "DataFrame", spark_number: int) -> None:
        now = stream.as_of or datetime.now(UTC)
        contents = [value for (value,) in frame.toLocalIterator() if value is not None]
        number = batch_number(spark_number, contents if stream.source != "parquet" else map(_path_and_digest, contents))

        def attempt() -> BatchRecord:
            with_ids = not orders_file(source).ids_of_content
            orders, refused = split_events(_events(contents, stream.source, now, with_ids), with_ids)
            return batches.process(number, orders, refused, now)

        process_and_report(attempt)

    for number in batches.interrupted():  # Spark repeats one only from the same checkpoint
        process_and_report(partial(batches.process_again, number, stream.as_of or datetime.now(UTC)))
    with spark_session(settings, "score-stream") as session:
        writer = _read_stream(session, stream, settings).writeStream.foreachBatch(process_frame)
        # Set on the writer: as a session property, Spark would make a new folder below it at each start.
        writer = writer.option("checkpointLocation", str(checkpoint.resolve()))
        if stream.once:
            writer = writer.trigger(availableNow=True)
        else:
            writer = writer.trigger(processingTime=f"{settings.stream_trigger_seconds:g} seconds")
        with _stopped_by_signals(writer.start(), stopping) as query:
            _LOG.info(f"following {stream.incoming if stream.source != 'kafka' else 'Kafka'}; Ctrl-C ends")
            query.awaitTermination()
        if query.exception() is not None and not stopping.is_set():
            raise JobError(f"the stream ended: {str(query.exception()).splitlines()[0]}")


def _source_identity(stream: Stream, settings: JobsSettings) -> dict[str, str]:
    if stream.source == "kafka":
        return {"source": stream.source, "topic": settings.stream_kafka_topic}
    return {"source": stream.source, "incoming": str(stream.incoming.resolve())}


def _path_and_digest(file: str) -> str:
    """A file's path and digest, because another file may take the same name."""
    path = _path(file)
    try:
        return f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError:
        return str(path)


def _path(file: str) -> Path:
    return Path(unquote(urlparse(file).path))


def _read_stream(session: "SparkSession", stream: Stream, settings: JobsSettings) -> "DataFrame":
    if stream.source == "kafka":
        if not settings.stream_kafka_servers or not settings.stream_kafka_topic:
            raise JobError("JOBS_STREAM_KAFKA_SERVERS and JOBS_STREAM_KAFKA_TOPIC must be set for --source kafka")
        kafka = {
            "kafka.bootstrap.servers": settings.stream_kafka_servers,
            "subscribe": settings.stream_kafka_topic,
            "startingOffsets": "earliest",
        }
        return session.readStream.format("kafka").options(**kafka).load().selectExpr("CAST(value AS STRING) AS value")
    reader = session.readStream.option("maxFilesPerTrigger", settings.stream_files_per_batch)
    reader = reader.option("maxFileAge", _MAX_FILE_AGE)
    if stream.source == "json":
        return reader.format("text").load(spark_path(stream.incoming))
    # Read only the names: in Spark a damaged file would end the stream; this process can say what is wrong with it.
    return reader.format("binaryFile").schema(_BINARY_FILE).load(spark_path(stream.incoming)).select("path")


_BINARY_FILE = "path STRING, modificationTime TIMESTAMP, length LONG, content BINARY"


def _events(contents: Iterable[str], source: Source, now: datetime, with_ids: bool) -> Iterator[Event]:
    """Read orders from lines of JSON, or from Parquet files by name."""
    for value in contents:
        if source == "parquet":
            yield from read_parquet(_path(value), now, with_ids)
        elif value.strip():
            yield read_json(value, now, with_ids)


def _retry(attempt: Callable[[], BatchRecord], stopping: threading.Event) -> BatchRecord:
    """Repeat a batch until it succeeds.

    Raises:
        InterruptedError: the stream was stopped meanwhile.
    """
    pause = 1.0
    while not stopping.is_set():
        try:
            return attempt()
        except (JobError, SourceError) as error:
            _LOG.warning(f"a batch failed, trying again in {pause:g} s: {error}")
        stopping.wait(pause)
        pause = min(2 * pause, _MAX_PAUSE_SECONDS)
    raise InterruptedError("the stream was stopped before a batch was done")  # so that Spark does not commit it


@contextmanager
def _stopped_by_signals(query: "StreamingQuery", stopping: threading.Event) -> Iterator[Any]:
    def stop(*_: object) -> None:
        stopping.set()
        threading.Thread(target=query.stop, daemon=True).start()  # the handler itself may interrupt a Py4J call

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield query
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
