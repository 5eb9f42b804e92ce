"""Spark Structured Streaming over new orders: Spark finds them and remembers what is done, `StreamBatches` does it."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlparse

from contract.artefacts import Artefacts
from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.order_events import Event, read_json, read_parquet, sorted_out
from jobs.orders import streamed_batches
from jobs.settings import JobsSettings
from jobs.spark import spark_path, spark_session
from jobs.stream_batch import BatchRecord, StreamBatches, StreamFolders
from jobs.stream_metrics import StreamMetrics
from scoring.model import ImportedModel

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

Source = Literal["json", "parquet", "kafka"]
_LONGEST_PAUSE = 30.0
_FIRST_BATCH = "first_batch"


@dataclass(frozen=True)
class Stream:
    """What to follow.

    incoming: the folder in which files of orders appear, each moved there whole; unused with Kafka.
    checkpoint: where Spark remembers what is done; a new one reads everything that is there again.
    once: end when everything that is there has been done.
    as_of: the time of scoring; None is that of each batch.
    """

    source: Source
    incoming: Path
    checkpoint: Path
    folders: StreamFolders
    once: bool = False
    as_of: datetime | None = None


def score_stream(artefacts: Artefacts, model: ImportedModel, stream: Stream, settings: JobsSettings) -> None:
    """Follow the stream until SIGTERM or SIGINT, or to its end with `stream.once`.

    A batch that fails because a store does not answer is tried again until it does. One that is cut off is done again
    when the stream is started again.

    Raises:
        JobError: Spark or a setting cannot be used, or no Redis address is known.
        ContractError: the registry does not keep the model's contract.
    """
    if artefacts.redis_url is None:
        raise JobError("REDIS_URL is not set and no embedded server runs; `make redis` starts one")
    stream.incoming.mkdir(parents=True, exist_ok=True)
    store = open_feature_store(artefacts)
    # Not in feast's public interface, but the client that its own rows go through, whatever kind of Redis there is.
    client = store._get_provider().online_store._get_client(store.config.online_store)
    batches = StreamBatches(artefacts, store, client, model, stream.folders, settings)
    metrics = StreamMetrics(settings.stream_metrics_port)
    first = _first_batch(stream.checkpoint, artefacts.streamed_orders)
    stopping = threading.Event()

    def do(frame: "DataFrame", spark_number: int) -> None:
        number = first + spark_number
        now = stream.as_of or datetime.now(UTC)
        orders, refused = sorted_out(_events(frame, stream.source, now))

        def attempt() -> BatchRecord:
            return batches.process(number, orders, refused, now)

        made = _until_it_works(attempt, stopping)
        if made is not None:
            metrics.count(made)
            print(json.dumps(asdict(made)), flush=True)

    options = {"spark.sql.streaming.checkpointLocation": str(stream.checkpoint)}
    with spark_session(settings, "score-stream", options) as session:
        writer = _following(session, stream, settings).writeStream.foreachBatch(do)
        if stream.once:
            writer = writer.trigger(availableNow=True)
        else:
            writer = writer.trigger(processingTime=f"{settings.stream_trigger_seconds:g} seconds")
        with _stopped_by_signals(writer.start(), stopping) as query:
            print(f"following {stream.incoming if stream.source != 'kafka' else 'Kafka'}; Ctrl-C ends", flush=True)
            query.awaitTermination()
        if query.exception() is not None and not stopping.is_set():
            raise JobError(f"the stream ended: {str(query.exception()).splitlines()[0]}")


def _first_batch(checkpoint: Path, streamed_orders: Path) -> int:
    """What Spark's first batch is called here: another checkpoint must not overwrite the batches of the one before."""
    file = checkpoint / _FIRST_BATCH
    if not file.exists():
        checkpoint.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(str(max(streamed_batches(streamed_orders), default=-1) + 1), encoding="utf-8")
        partial.replace(file)
    return int(file.read_text(encoding="utf-8"))


def _following(session: "SparkSession", stream: Stream, settings: JobsSettings) -> "DataFrame":
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
    if stream.source == "json":
        return reader.format("text").load(spark_path(stream.incoming))
    # Only their names: a damaged file would end the stream, and this process can say what is wrong with it.
    return reader.format("binaryFile").schema(_BINARY_FILE).load(spark_path(stream.incoming)).select("path")


_BINARY_FILE = "path STRING, modificationTime TIMESTAMP, length LONG, content BINARY"


def _events(frame: "DataFrame", source: Source, now: datetime) -> Iterator[Event]:
    for (value,) in frame.toLocalIterator():
        if source == "parquet":
            yield from read_parquet(Path(unquote(urlparse(value).path)), now)
        elif value is not None and value.strip():
            yield read_json(value, now)


def _until_it_works(attempt: Callable[[], BatchRecord], stopping: threading.Event) -> BatchRecord | None:
    """Try again while a store does not answer; None if the stream is ended meanwhile."""
    pause = 1.0
    while not stopping.is_set():
        try:
            return attempt()
        except JobError as error:
            print(f"a batch could not be done, trying again in {pause:g} s: {error}", flush=True)
        stopping.wait(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    raise InterruptedError("the stream was ended before a batch was done")  # so that Spark does not take it for done


@contextmanager
def _stopped_by_signals(query: "StreamingQuery", stopping: threading.Event) -> Iterator[Any]:
    def stop(*_: object) -> None:
        stopping.set()
        threading.Thread(target=query.stop, daemon=True).start()  # not in the handler, which Py4J may be interrupted by

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield query
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
