"""`POST /features`: features without a prediction, for clients with a model of their own."""

from typing import Any

from service.api.serving import Serving


async def features(serving: Serving, body: Any, as_of_unix_us: int, _request_id: str) -> dict[str, Any]:
    """Read what a prediction would read, under the same deadline and limits. Nothing is scored or logged."""
    keys, given = serving.bodies.requests.batch(body, serving.settings.max_batch)
    if not keys:
        return {"rows": []}
    with serving.rows.take(len(keys)):
        read, at = await serving.predictor.read_features(keys, as_of_unix_us, given)
    return {"rows": serving.bodies.features.rows(keys, read, at)}
