"""`GET /history`: what was last answered for one entity, from the inference log."""

from typing import Any

from service.api.serving import Serving
from service.errors import NotFoundError


async def history(serving: Serving, query: Any, _as_of_unix_us: int, _request_id: str) -> dict[str, Any]:
    """Look into the log, beside the requests. Asking is not logged."""
    if serving.history is None:
        raise NotFoundError("there is no history")
    key = serving.bodies.requests.key(query)
    challenger = serving.predictor.challenger
    beside = None if challenger is None else challenger.live.model
    return (await serving.history.last(serving.predictor.model, key, query.limit, beside))._asdict()
