"""The service and its peers: how each is started and called, and how its answers are read."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.online.workload import Workload
from contract.tasks import TaskKind

_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Call:
    """One call of a peer's API.

    body: makes the body of a request for the entities at these positions.
    row: regular expression that matches `per_row` times per entity in the body of a good answer.
    scores: reads them from a decoded answer, in order; None if answers have none.
    """

    path: str
    body: Callable[[Workload, Sequence[int]], Any]
    row: bytes
    per_row: int = 1
    scores: Callable[[Any], list[Any]] | None = None

    def request(self, workload: Workload, chunk: Sequence[int], port: int) -> bytes:
        """The complete HTTP request."""
        body = json.dumps(self.body(workload, chunk)).encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


@dataclass(frozen=True)
class Peer:
    """One server.

    what: description for the report.
    command: port → command line.
    environment: variables beyond those of all servers.
    no_batch: why there is no batch call.
    """

    name: str
    title: str
    what: str
    command: Callable[[int], list[str]]
    single: Call
    batch: Call | None
    environment: Mapping[str, str] = field(default_factory=dict)
    no_batch: str = ""


def _one_key(workload: Workload, chunk: Sequence[int]) -> dict[str, Any]:
    return {workload.join_key: workload.keys[chunk[0]]}


def _many_keys(workload: Workload, chunk: Sequence[int]) -> dict[str, Any]:
    return {f"{workload.join_key}s": workload.keys_at(chunk)}


def _entity_row(workload: Workload, chunk: Sequence[int]) -> dict[str, Any]:
    return {"entity_row": _one_key(workload, chunk)}


def _entity_rows(workload: Workload, chunk: Sequence[int]) -> dict[str, Any]:
    return {"entity_rows": [{workload.join_key: key} for key in workload.keys_at(chunk)]}


def _dataframe_split(workload: Workload, chunk: Sequence[int]) -> dict[str, Any]:
    return {"dataframe_split": {"columns": workload.contract.feature_names, "data": workload.frame_at(chunk)}}


def _entities(workload: Workload, chunk: Sequence[int]) -> dict[str, Any]:
    inputs = {r.name: [workload.as_of_unix_us] * len(chunk) for r in workload.contract.feature_schema.request_inputs}
    entities = {workload.join_key: workload.keys_at(chunk), **inputs}
    return {"feature_service": workload.contract.feature_service, "entities": entities}


_NUMBERS = Call("/predict_batch", _entity_rows, rb"[\[,] ?-?\d", scores=list)
_NUMBER = Call("/predict", _entity_row, rb"\A-?\d", scores=lambda answer: [answer])
_INVOCATIONS: Mapping[TaskKind, Call] = {
    "binary": Call(
        "/invocations",
        _dataframe_split,
        rb"\[\d",
        scores=lambda answer: [positive for _, positive in answer["predictions"]],
    ),
    "multiclass": Call("/invocations", _dataframe_split, rb"\[\d", scores=lambda answer: answer["predictions"]),
    "regression": Call("/invocations", _dataframe_split, rb"[\[,] ?-?\d", scores=lambda answer: answer["predictions"]),
}
_LISTS = replace(_NUMBERS, row=rb"\[\d")
_LIST = replace(_NUMBER, row=rb"\A\[\d")
_PLAIN: Mapping[TaskKind, tuple[Call, Call]] = {
    "binary": (_NUMBER, _NUMBERS),
    "multiclass": (_LIST, _LISTS),
    "regression": (_NUMBER, _NUMBERS),
}
"""Task → calls of the peers that answer with scores alone, for one entity and for many."""


def _output(workload: Workload) -> tuple[bytes, Callable[[Any], Any]]:
    """What is in each row of our answers, and how to read its score."""
    name = workload.contract.outputs[0].name

    def score(row: Any) -> Any:
        found = row[name]
        return list(found.values()) if isinstance(found, dict) else found

    return rb'"%s":[-\d{]' % re.escape(name).encode(), score


def _bentoml(*words: str) -> Callable[[int], list[str]]:
    return lambda port: [str(_BIN / "bentoml"), "serve", *words, "--host", "127.0.0.1", "--port", str(port)]


def _uvicorn(*words: str) -> Callable[[int], list[str]]:
    return lambda port: [str(_BIN / "uvicorn"), *words, "--host", "127.0.0.1", "--port", str(port)]


def all_peers(workload: Workload) -> dict[str, Peer]:
    """Every peer by its name, ours first."""
    contract = workload.contract
    model_uri = f"models:/{contract.model_name}/{contract.model_version}"
    features = Call(
        "/get-online-features",
        _entities,
        rb'"(?:PRESENT|NULL_VALUE|NOT_FOUND)"',
        per_row=len(contract.inputs) + len(contract.feature_schema.entity_keys),
    )
    row, score = _output(workload)
    single, batch = _PLAIN[contract.task.kind]
    invocations = _INVOCATIONS[contract.task.kind]
    peers = (
        Peer(
            name="ours",
            title="this service",
            what="`bentoml serve` as `make serve` runs it: anonymous on loopback, all checks and metrics on",
            command=_bentoml(),
            single=Call("/predict", _one_key, row, scores=lambda answer: [score(answer)]),
            batch=Call(
                "/predict_batch",
                _many_keys,
                row,
                scores=lambda answer: list(map(score, answer["predictions"])),
            ),
        ),
        Peer(
            name="P0",
            title="plain BentoML + Feast SDK",
            what="sync `@bentoml.api`, `get_online_features(…).to_df()`, scikit-learn; default settings",
            command=_bentoml("benchmarks.apps.plain_bentoml:Plain"),
            single=single,
            batch=batch,
        ),
        Peer(
            name="P1",
            title="plain FastAPI + Feast SDK",
            what="the same on FastAPI and uvicorn; default settings",
            command=_uvicorn("benchmarks.apps.plain_fastapi:app"),
            single=single,
            batch=batch,
        ),
        Peer(
            name="P2",
            title="mlflow models serve",
            what="the same registered model; the client sends the features, nothing is looked up",
            command=lambda port: [
                str(_BIN / "mlflow"),
                *("models", "serve", "--env-manager", "local", "-m", model_uri),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            single=invocations,
            batch=invocations,
        ),
        Peer(
            name="P3",
            title="feast serve",
            what="features only; `--max-requests 0`, since by default its worker restarts every 1,000 requests",
            command=lambda port: [
                str(_BIN / "feast"),
                *("--chdir", str(workload.feature_repo), "serve", "--host", "127.0.0.1", "--port", str(port)),
                *("--max-requests", "0"),
            ],
            single=features,
            batch=features,
        ),
        Peer(
            name="F",
            title="BentoML no-op",
            what="an async `@bentoml.api` that repeats the id, with our service's settings: no features, no model",
            command=_bentoml("benchmarks.apps.noop_bentoml:Noop"),
            single=Call("/noop", _entity_row, re.escape(workload.join_key).encode()),
            batch=None,
            no_batch="a no-op has nothing to do for a batch",
        ),
        Peer(
            name="L",
            title="the limit",
            what="bare ASGI on uvloop, redis-py pipeline of HMGET, protobuf, ONNX Runtime; nothing checked or counted",
            command=_uvicorn("benchmarks.apps.limit:app", "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
            single=single,
            batch=batch,
        ),
    )
    return {peer.name: peer for peer in peers}
