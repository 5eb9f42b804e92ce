"""Settings of the jobs: environment variables with the prefix JOBS_."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class JobsSettings(BaseSettings):
    """How features are built. Addresses of artefacts are in `contract.artefacts`."""

    model_config = SettingsConfigDict(env_prefix="JOBS_")

    snapshot_backfill_days: int = Field(default=30, ge=1, le=365)
    """Days between the windowed snapshots that training can use as cut-offs."""

    daily_snapshots: int = Field(default=7, ge=1, le=365)
    """How many of the latest midnights get a windowed snapshot each; the newest is what serving reads."""
