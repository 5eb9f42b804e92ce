"""Settings of builds that know the use case; environment variables with the prefix JOBS_, like `jobs.settings`."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class FeaturesSettings(BaseSettings):
    """How a build is checked."""

    model_config = SettingsConfigDict(env_prefix="JOBS_")

    features_verify_customers: int = Field(default=200, ge=1)
    """Customers whose feature rows every build computes again from their orders, in plain Python."""
