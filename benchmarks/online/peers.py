"""The service and its peers: how each is started and called, and how its answers are read."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.online.workload import Workload

_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Call:
    """One call of a peer's API.

    body: makes the body of a request for the customers at these positions.
    row: regular expression that matches `per_row` times per customer in the body of a good answer.
    probabilities: reads them from a decoded answer, in order; None if answers have none.
    """

    path: str
    body: Callable[[Workload, Sequence[int]], Any]
    row: bytes
    per_row: int = 1
    probabilities: Callable[[Any], list[float]] | None = None

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


def _one_id(workload: Workload, chunk: Sequence[int]) -> dict[str, str]:
    return {"customer_id": workload.customer_ids[chunk[0]]}


def _many_ids(workload: Workload, chunk: Sequence[int]) -> dict[str, list[str]]:
    return {"customer_ids": workload.ids(chunk)}


def _dataframe_split(workload: Workload, chunk: Sequence[int]) -> dict[str, Any]:
    # float32's shortest digits; float64's would only make the body longer to parse.
    data = [[float(str(cell)) for cell in workload.vectors[position]] for position in chunk]
    return {"dataframe_split": {"columns": workload.contract.feature_names, "data": data}}


def _entities(workload: Workload, chunk: Sequence[int]) -> dict[str, Any]:
    inputs = {r.name: [workload.as_of_unix_us] * len(chunk) for r in workload.contract.feature_schema.request_inputs}
    (key,) = workload.contract.feature_schema.entity_keys
    entities = {key.join_key: workload.ids(chunk), **inputs}
    return {"feature_service": workload.contract.feature_service, "entities": entities}


_NUMBERS = Call("/predict_batch", _many_ids, rb"[\[,] ?\d", probabilities=list)
_NUMBER = Call("/predict", _one_id, rb"\A\d", probabilities=lambda answer: [answer])
_INVOCATIONS = Call(
    "/invocations",
    _dataframe_split,
    rb"\[\d",
    probabilities=lambda answer: [positive for _, positive in answer["predictions"]],
)


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
        rb'"PRESENT"',
        per_row=len(contract.inputs) + len(contract.feature_schema.entity_keys),
    )
    peers = (
        Peer(
            name="ours",
            title="this service",
            what="`bentoml serve` as `make serve` runs it: anonymous on loopback, all checks and metrics on",
            command=_bentoml(),
            single=Call(
                "/predict", _one_id, rb'"churn_probability":\d', probabilities=lambda a: [a["churn_probability"]]
            ),
            batch=Call(
                "/predict_batch",
                _many_ids,
                rb'"churn_probability":\d',
                probabilities=lambda answer: [row["churn_probability"] for row in answer["predictions"]],
            ),
        ),
        Peer(
            name="P0",
            title="plain BentoML + Feast SDK",
            what="sync `@bentoml.api`, `get_online_features(…).to_df()`, `predict_proba`; default settings",
            command=_bentoml("benchmarks.apps.plain_bentoml:PlainChurn"),
            single=_NUMBER,
            batch=_NUMBERS,
        ),
        Peer(
            name="P1",
            title="plain FastAPI + Feast SDK",
            what="the same on FastAPI and uvicorn; default settings",
            command=_uvicorn("benchmarks.apps.plain_fastapi:app"),
            single=_NUMBER,
            batch=_NUMBERS,
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
            single=_INVOCATIONS,
            batch=_INVOCATIONS,
        ),
        Peer(
            name="P3",
            title="feast serve",
            what="features only; `--max-requests 0`, since by default its worker restarts every 1,000 requests",
            command=lambda port: [
                str(_BIN / "feast"),
                *("--chdir", "feature_repo", "serve", "--host", "127.0.0.1", "--port", str(port)),
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
            single=Call("/noop", _one_id, rb'"customer_id"'),
            batch=None,
            no_batch="a no-op has nothing to do for a batch",
        ),
        Peer(
            name="L",
            title="the limit",
            what="bare ASGI on uvloop, redis-py pipeline of HMGET, protobuf, ONNX Runtime; nothing checked or counted",
            command=_uvicorn("benchmarks.apps.limit:app", "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
            single=_NUMBER,
            batch=_NUMBERS,
        ),
    )
    return {peer.name: peer for peer in peers}
