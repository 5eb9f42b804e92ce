"""F: BentoML's own HTTP path with an endpoint that does nothing, with our service's settings."""

from typing import Any

import bentoml


# The settings of service/service.py; a unit test holds them equal.
@bentoml.service(
    traffic={"timeout": 5},
    name="noop",
    http={"host": "127.0.0.1"},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": [".*"]},
)
class Noop:
    """Repeats the request."""

    @bentoml.api  # type: ignore[untyped-decorator]  # bentoml publishes no types for it
    async def noop(self, entity_row: dict[str, Any]) -> dict[str, Any]:
        """No features, no model."""
        return entity_row
