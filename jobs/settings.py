"""Settings of the jobs: environment variables with the prefix JOBS_."""

from pathlib import Path
from typing import Self

from pydantic import DirectoryPath, Field, model_validator
from pydantic_settings import SettingsConfigDict

from artefacts.process.logs import LogSettings


class JobsLogSettings(LogSettings):
    """How the jobs log."""

    model_config = SettingsConfigDict(env_prefix="JOBS_")


class JobsSettings(JobsLogSettings):
    """How features are built. Addresses of artefacts are in `artefacts.addresses`."""

    snapshot_backfill_days: int = Field(default=30, ge=1, le=365)
    """Days between the windowed snapshots of the past, for `score-batch` as of then. Training has its own cut-offs."""

    daily_snapshots: int = Field(default=7, ge=1, le=365)
    """Number of latest midnights that get a windowed snapshot each. Serving reads the newest."""

    memory_limit_mb: int = Field(default=1024, ge=128)
    """Memory in MB that DuckDB may use before it continues in files, and that Spark's driver gets."""

    scratch_dir: DirectoryPath | None = None
    """Folder of DuckDB's files while features are built. None uses a folder in the offline store."""

    spark_master: str = "local[*]"
    """Where Spark runs: this machine's cores, or the address of a cluster."""

    materialize_chunk_rows: int = Field(default=50_000, ge=1)
    """Entities whose rows are read and written at a time."""

    materialize_verify_rows: int = Field(default=200, ge=0)
    """Entities per view that are read back through Feast's SDK after they were written."""

    lock_seconds: float = Field(default=30, ge=0.5)
    """Seconds after which Redis forgets the lock of a job that was killed."""

    owner: str = Field(default="", max_length=200)
    """Name of the owner of the rows online, for jobs whose disk is not kept; compose and the chart set it. Empty takes
    the offline store's own id (docs/materialization.md).
    """

    metrics_dir: Path | None = None
    """Folder for the metrics of all jobs and use cases, a file for each, where the node exporter reads one folder only.
    None writes each beside its report.
    """

    stream_watermark_days: int = Field(default=30, ge=0)
    """Days by which a streamed event may be late and still change features at once."""

    stream_files_per_batch: int = Field(default=100, ge=1)
    """Largest number of files in one micro-batch; they pass through this process's memory."""

    stream_trigger_seconds: float = Field(default=1, ge=0)
    """Seconds between the starts of two micro-batches, while there is work."""

    stream_metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Loopback port for the stream's Prometheus metrics. None opens no port."""

    stream_kafka_servers: str = ""
    """Brokers as `host:port,…`, for `--source kafka`."""

    stream_kafka_topic: str = ""
    """Topic with one event in JSON per message, for `--source kafka`."""

    build_max_age_hours: float = Field(default=26, gt=0)
    """Age in hours of the newest build of features above which `audit-skew` calls a build missed: a day
    and some hours.
    """

    drift_baseline: str = "training"
    """What `drift` compares live values with: `training`, `promoted`, or a period of the log as `<from>..<to>`."""

    drift_promoted_days: int = Field(default=30, ge=1)
    """Days, from a version's first answer, whose answers are the baseline `promoted`."""

    drift_alpha: float = Field(default=0.05, gt=0, lt=1)
    """False alarm rate of one drift report, over all of its columns together."""

    drift_min_psi: float = Field(default=0.05, gt=0)
    """Population stability index from which a difference matters. By custom 0.1 is slight and 0.25 is large."""

    drift_min_psi_of: str = ""
    """The same for single columns: `column:index`, separated by spaces."""

    drift_age_feature: str = ""
    """Input that says for how long an entity has been known; by default the one that the model's contract names.
    Entities older than all in the baseline are not compared.
    """

    @model_validator(mode="after")
    def _names_thresholds(self) -> Self:
        try:
            self.drift_thresholds()
        except ValueError:
            raise ValueError(
                f"drift_min_psi_of: {self.drift_min_psi_of!r} is not `column:index column:index`"
            ) from None
        return self

    def drift_thresholds(self) -> dict[str, float]:
        """Column → its own index from which on a difference matters."""
        pairs = [described.rpartition(":") for described in self.drift_min_psi_of.split()]
        found = {column: float(index) for column, _, index in pairs}
        if not all(found) or any(not index > 0 for index in found.values()):
            raise ValueError
        return found
