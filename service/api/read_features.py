"""`POST /features`: features without a prediction, for clients with a model of their own."""

import asyncio
from typing import Any

from service.api.serving import Serving

_ROWS_AT_ONCE = 50
"""More rows are written in a thread: writing a thousand takes tens of milliseconds, in which nobody else would be
answered."""


async def features(serving: Serving, body: Any, as_of_unix_us: int, _request_id: str) -> dict[str, Any]:
    """Read what a prediction would read, under the same deadline and limits. Nothing is scored or logged."""
    keys, given = serving.bodies.requests.batch(body, serving.settings.max_batch)
    if not keys:
        return {"rows": []}
    write = serving.bodies.features.rows
    with serving.rows.take(len(keys)):
        read, at = await serving.predictor.read_features(keys, as_of_unix_us, given)
        rows = write(keys, read, at) if len(keys) <= _ROWS_AT_ONCE else await asyncio.to_thread(write, keys, read, at)
    return {"rows": rows}
