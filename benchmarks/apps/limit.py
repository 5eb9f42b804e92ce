"""L: the lower limit of work. Bare ASGI, HMGET through redis-py, protobuf, the on-demand function, ONNX Runtime.

No validation, authentication, metrics, staleness or defaults: a limit for Python, not a service.
"""

import json
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import onnxruntime
import redis.asyncio
from feast import FeatureStore
from feast.protos.feast.types.Value_pb2 import Value

from contract import FeatureInput, ModelContract
from contract.tasks import TaskKind
from contract.values.vocabulary import MISSING_CODE
from scoring.feast.redis_layout import KeyLayout, feature_field

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_NO_TIME = (None, -(2**63))
"""The second is what Feast stores for a null of a `UnixTimestamp`."""
_SCORES: Mapping[TaskKind, Callable[[Any], Any]] = {
    "binary": lambda output: output[:, 1],
    "multiclass": lambda output: output,
    "regression": np.ravel,
}


class Limit:
    """Scores entities; prepares once what does not depend on them."""

    def __init__(self) -> None:
        stored = bentoml.models.get(os.environ["BENCHMARKS_MODEL_TAG"])
        contract = ModelContract.from_json(Path(stored.path_of("contract.json")).read_bytes())
        store = FeatureStore(repo_path=os.environ["BENCHMARKS_FEATURE_REPO"])
        fields: dict[bytes, int] = {}

        def position(view: str, feature: str) -> int:
            return fields.setdefault(feature_field(view, feature), len(fields))

        stored_views = {view.name for view in contract.feature_schema.views}
        self._stored: list[tuple[int, int, FeatureInput]] = []
        computed: dict[str, list[tuple[str, int]]] = {}
        for column, feature in enumerate(contract.inputs):
            bare = feature.name.removeprefix(f"{feature.view}__")
            if feature.view in stored_views:
                self._stored.append((column, position(feature.view, bare), feature))
            else:
                computed.setdefault(feature.view, []).append((bare, column))
        self._on_demand: list[tuple[Any, list[tuple[str, int]], list[tuple[str, int]]]] = []
        for name, outputs in computed.items():
            view = store.registry.get_on_demand_feature_view(name, store.project)
            inputs = [
                (feature.name, position(projection.name, feature.name))
                for projection in view.source_feature_view_projections.values()
                for feature in projection.features
            ]
            self._on_demand.append((view.feature_transformation.udf, inputs, outputs))
        self._request_inputs = [r.name for r in contract.feature_schema.request_inputs]
        self._fields = list(fields)
        self._columns = len(contract.inputs)
        (key,) = contract.feature_schema.entity_keys
        self._join_key = key.join_key
        self._key = KeyLayout.of(store.project, {key.join_key: key.dtype}).key
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(stored.path_of("model.onnx"), options)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[-1].name  # a classifier's first is the class
        self._scores = _SCORES[contract.task.kind]
        self._redis: Any = redis.asyncio.Redis.from_url(os.environ["BENCHMARKS_REDIS_URL"])

    async def score(self, entity_rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """One score per row, same order."""
        as_of = time.time_ns() // 1000
        keys = [self._key(row[self._join_key]) for row in entity_rows]
        if len(keys) == 1:
            replies = [await self._redis.hmget(keys[0], self._fields)]
        else:
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(key, self._fields)
            replies = await pipeline.execute()
        parse = Value.FromString
        rows = []
        for reply in replies:
            values = [parse(value or b"") for value in reply]
            rows.append([getattr(value, kind) if (kind := value.WhichOneof("val")) else None for value in values])
        matrix = np.empty((len(rows), self._columns), dtype=np.float32)
        fields = list(zip(*rows, strict=True))
        for column, position, feature in self._stored:
            found = fields[position]
            if feature.codes is not None:
                codes = feature.codes.codes(found)
                matrix[:, column] = np.where(np.isnan(codes), MISSING_CODE, codes)
            elif feature.kind == "age":
                matrix[:, column] = [math.nan if at in _NO_TIME else as_of / 1e6 - at for at in found]
            else:
                matrix[:, column] = found
        for transform, inputs, outputs in self._on_demand:
            given: dict[str, Any] = {name: [as_of] * len(rows) for name in self._request_inputs}
            given.update((name, fields[position]) for name, position in inputs)
            results = transform(given)
            for name, column in outputs:
                matrix[:, column] = results[name]
        (output,) = self._session.run([self._output], {self._input: matrix})
        scores: list[Any] = self._scores(output).tolist()
        return scores


class LimitApp:
    """`{"entity_row": …}` or `{"entity_rows": […]}` at any path → scores."""

    def __init__(self) -> None:
        self._limit: Limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "lifespan":
            await receive()
            self._limit = Limit()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        parts = []
        while True:
            message = await receive()
            parts.append(message["body"])
            if not message.get("more_body"):
                break
        asked = json.loads(b"".join(parts))
        if "entity_row" in asked:
            answer = json.dumps((await self._limit.score([asked["entity_row"]]))[0]).encode()
        else:
            answer = json.dumps(await self._limit.score(asked["entity_rows"])).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


app = LimitApp()
