"""Settings of the service: environment variables with the prefix SERVICE_."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """How one service process behaves. Addresses of artefacts are in `contract.artefacts`."""

    model_config = SettingsConfigDict(env_prefix="SERVICE_", protected_namespaces=())

    model_tag: str = ""
    """Tag in the BentoML model store; empty takes the one that `make import-model` pinned in `var/model_tag`."""

    deadline_ms: float = Field(default=250, gt=0, le=2500)
    """Milliseconds within which the online store must have answered a request."""

    body_timeout_ms: float = Field(default=2000, gt=0, le=2000)
    """Milliseconds within which a request's body must have arrived."""

    max_batch: int = Field(default=1000, ge=1)
    """Most customer ids in one batch."""

    max_body_bytes: int = Field(default=1_000_000, ge=1000)
    """Largest request body."""

    max_concurrency: int = Field(default=64, ge=1)
    """Requests in flight per worker; beyond them the answer is 429."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Level of the service's own log."""
