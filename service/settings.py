"""Settings of the service: environment variables with the prefix SERVICE_."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """How one service process behaves. Addresses of artefacts are in `artefacts.addresses`."""

    model_config = SettingsConfigDict(env_prefix="SERVICE_", protected_namespaces=())

    model_tag: str = ""
    """Exact tag in the BentoML model store. Empty takes the tag that `make import-model` wrote to `var/model_tag`."""

    image: str = ""
    """Name of the image that this process runs from; `GET /model` shows it. `make containerize` sets it in
    the image.
    """

    deadline_ms: float = Field(default=250, gt=0, le=2500)
    """Milliseconds within which the online store must have answered a request."""

    body_timeout_ms: float = Field(default=2000, gt=0, le=2000)
    """Milliseconds within which a request's body must have arrived."""

    keep_alive_seconds: int = Field(default=75, ge=1, le=3600)
    """Seconds for which a connection may be idle between two requests. Must be longer than a proxy in front keeps it,
    which is 60 s for nginx and many load balancers. `bentoml serve --timeout-keep-alive` has no effect.
    """

    max_batch: int = Field(default=1000, ge=1)
    """Largest number of entity keys in one batch."""

    max_body_bytes: int = Field(default=1_000_000, ge=1000)
    """Largest request body."""

    max_concurrency: int = Field(default=256, ge=1)
    """Requests in flight per worker; more are answered with 429."""

    max_rows: int = Field(default=5000, ge=1)
    """Entities being scored per worker, those of batches included; more are answered with 429. At least
    `SERVICE_MAX_BATCH`.
    """

    max_explanations: int = Field(default=2, ge=1)
    """Explanations in flight per worker; more are answered with 429."""

    cache_rows: int = Field(default=0, ge=0)
    """Entities per worker whose last known good features are used, flagged, while Redis fails. 0 keeps none."""

    cache_max_age_seconds: float = Field(default=900, gt=0)
    """Seconds for which last known good features may be used."""

    api_keys: str = ""
    """API keys as `name:sha256` entries, separated by commas or white space; made by `make api-key`."""

    api_keys_file: str = ""
    """File with one such entry per line. It is read again within a second of a change. If it cannot be read for a
    minute, its keys are no longer valid.
    """

    quotas: str = ""
    """Requests and rows a minute that API keys may use, as `name=requests/rows` entries, separated by commas or white
    space; `-` is no limit, `*` every other key: `shop=600/60000 *=60/-`. They hold for all workers of a server together
    (docs/security.md#quotas).
    """

    cors_origins: str = ""
    """Origins whose pages may call the service from a browser, as `https://shop.example.com`, between commas or white
    space; `*` for any. Empty answers no preflight (docs/bentoml.md#calls-from-a-browser).
    """

    path_prefix: str = Field(default="", pattern=r"^((/[A-Za-z0-9._~-]+)+)?$")
    """Path below which everything is answered, as `/scores`, where a gateway passes paths on as they came. `/livez`,
    `/readyz` and `/metrics` are answered without it too.
    """

    allow_anonymous: bool = False
    """Serve other machines without API keys. It has no effect if there are keys."""

    console: bool = True
    """Serve the console at `/` (docs/console.md). The page holds no data; its calls need an API key like all others."""

    max_snapshot_age_hours: float | None = Field(default=None, gt=0)
    """Hours after which an old newest windowed snapshot makes `/readyz` answer 503 (docs/materialization.md#records).
    None serves a snapshot of any age; answers are `degraded` once it is stale.
    """

    compiled_reader: bool = True
    """Read Redis by the compiled plan where it can; false always reads through Feast's SDK."""

    contract_check_seconds: float = Field(default=30, gt=0)
    """Seconds between two checks of the live registry against the contract."""

    follow_store: bool = False
    """Follow `var/model_tag`: a model that is imported, promoted or rolled back goes live without a restart
    (docs/live-models.md).
    """

    models_check_seconds: float = Field(default=1, gt=0)
    """Seconds between two looks at which models should be live."""

    challenger_budget_ms: float = Field(default=25, gt=0, le=1000)
    """Milliseconds to wait for the answer of a canary; then the champion answers."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Level of the service's own log."""

    log_format: Literal["json", "text"] = "json"
    """`json` writes one JSON object per line, `text` writes lines for people."""

    log_requests: bool = False
    """One log line per request; costs about a tenth of the throughput."""

    inference_log: bool = False
    """Keep every answer with what it was computed from (docs/inference-log.md)."""

    inference_log_flush_seconds: float = Field(default=1, gt=0, le=60)
    """Seconds between two writes of the log. A crash loses at most what was answered in between."""

    inference_log_queue_rows: int = Field(default=20_000, ge=1000)
    """Rows per worker that may wait to be written; more are dropped and counted."""

    inference_log_file_mb: int = Field(default=64, ge=1)
    """Size in MB at which the open file becomes Parquet, which is a fraction of that size."""

    inference_log_file_seconds: float = Field(default=600, gt=0)
    """Seconds after which the open file becomes Parquet, whatever its size."""

    inference_log_days: int = Field(default=120, ge=1)
    """Whole days for which the log is kept. With fewer than the 90 days of a label, `make live-quality` has nothing to
    judge.
    """

    inference_log_id_key_file: str = ""
    """File with a key that turns the entity keys in the log into pseudonyms. None keeps the ids."""

    history: bool = False
    """Offer `GET /history`, which answers what was last answered for a key (docs/api.md#what-was-answered-before). It
    needs `SERVICE_INFERENCE_LOG`.
    """

    tracing: bool = False
    """OpenTelemetry spans, sent to where OpenTelemetry's own `OTEL_*` variables say (docs/logs_and_traces.md)."""

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return tuple(re.findall(r"[^\s,]+", self.cors_origins))

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for origin in re.findall(r"[^\s,]+", origins):
            if origin != "*" and not re.fullmatch(r"https?://[^/?#@]+", origin):
                raise ValueError("must be origins, as https://shop.example.com, with neither path nor slash at the end")
        return origins

    @model_validator(mode="after")
    def _a_batch_fits(self) -> Self:
        if self.max_rows < self.max_batch:
            raise ValueError(f"SERVICE_MAX_ROWS must be at least SERVICE_MAX_BATCH ({self.max_batch})")
        return self

    @model_validator(mode="after")
    def _history_is_logged(self) -> Self:
        if self.history and not self.inference_log:
            raise ValueError("SERVICE_HISTORY reads the inference log; set SERVICE_INFERENCE_LOG=true too")
        return self

    @model_validator(mode="after")
    def _one_says_what_is_live(self) -> Self:
        if self.follow_store and self.model_tag:
            raise ValueError("SERVICE_MODEL_TAG names one model, SERVICE_FOLLOW_STORE follows others; set one of them")
        return self
