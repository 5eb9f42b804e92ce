"""Settings of the jobs: environment variables with the prefix JOBS_."""

from typing import Self

from pydantic import DirectoryPath, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class JobsSettings(BaseSettings):
    """How features are built. Addresses of artefacts are in `artefacts.addresses`."""

    model_config = SettingsConfigDict(env_prefix="JOBS_")

    snapshot_backfill_days: int = Field(default=30, ge=1, le=365)
    """Days between the windowed snapshots of the past, for `score-batch` as of then; training has its own."""

    daily_snapshots: int = Field(default=7, ge=1, le=365)
    """How many of the latest midnights get a windowed snapshot each; the newest is what serving reads."""

    memory_limit_mb: int = Field(default=1024, ge=128)
    """Memory that DuckDB may use before it goes on in files, and that Spark's driver gets."""

    features_verify_customers: int = Field(default=200, ge=1)
    """Customers whose feature rows every build makes again from their orders, in plain Python."""

    scratch_dir: DirectoryPath | None = None
    """Where those files lie while a build runs; in the offline store unless it is set."""

    spark_master: str = "local[*]"
    """Where Spark runs: this machine's cores, or the address of a cluster."""

    materialize_chunk_rows: int = Field(default=50_000, ge=1)
    """Customers whose rows are read and written at a time."""

    materialize_verify_rows: int = Field(default=200, ge=0)
    """Customers per view that are read back through Feast's SDK after they were written."""

    lock_seconds: float = Field(default=30, ge=0.5)
    """After which Redis forgets the lock of a job that was killed."""

    owner: str = Field(default="", max_length=200)
    """Whose rows a materialization and the stream write; the offline store knows it by itself, where its disk stays."""

    stream_watermark_days: int = Field(default=30, ge=0)
    """How late an order of the stream may come and still change its customer's features at once."""

    stream_files_per_batch: int = Field(default=100, ge=1)
    """Files that one micro-batch takes at most; they pass through this process's memory."""

    stream_trigger_seconds: float = Field(default=1, ge=0)
    """Between the beginnings of two micro-batches, where there is something to do."""

    stream_metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Loopback port for the stream's Prometheus metrics; none unless it is set."""

    stream_kafka_servers: str = ""
    """`host:port,…` of the brokers, for `--source kafka`."""

    stream_kafka_topic: str = ""
    """Topic with an order in JSON per message, for `--source kafka`."""

    build_max_age_hours: float = Field(default=26, gt=0)
    """How old the newest build of features may become before `audit-skew` calls one missed: a day and some hours."""

    drift_baseline: str = "training"
    """What `drift` holds live values against: `training`, `promoted`, or a period of the log as `<from>..<to>`."""

    drift_promoted_days: int = Field(default=30, ge=1)
    """For how many days from its first answer on a version's own answers are the baseline `promoted`."""

    drift_alpha: float = Field(default=0.05, gt=0, lt=1)
    """Rate of false alarms of one report of drift, over all of its columns together."""

    drift_min_psi: float = Field(default=0.05, gt=0)
    """Population stability index from which on a difference matters; by custom 0.1 is slight and 0.25 is large."""

    drift_min_psi_of: str = ""
    """The same for single columns: `column:index` with spaces between."""

    drift_age_feature: str = "customer_recency__tenure_days"
    """Tells how long somebody has been a customer. Who is older than everybody in the baseline is not compared."""

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
