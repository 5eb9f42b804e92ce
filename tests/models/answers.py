"""Answers to log, made by the real resolver and a real model; and a process that logs them, to be killed.

`python -m tests.models.answers FOLDER REQUEST` logs numbered rows of one request until it is killed, and prints how
many it has put.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from artefacts.log_rows import inference_log_schema
from contract import RawFeatures, Resolver
from scoring.inference_log import Answers
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import outcomes
from scoring.task_outputs import task_outputs
from service.inference_log.writer import InferenceLog
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import ACTIVITY_TTL, NOW, NOW_US, small_contract, store_model

FLUSH_SECONDS = 0.2
EMPTY_LOG = inference_log_schema(small_contract()).empty_table()


def small_model(folder: Path) -> ImportedModel:
    """The model of `tests.models.fakes`, stored and loaded."""
    return store_model(folder, small_contract()).load()


def answers(model: ImportedModel, count: int, first: int = 0, request_id: str = "r") -> Answers:
    """`count` rows of one request, numbered from `first`: row n is of customer `c<n>`.

    Of five rows one is stale, one misses a value and one is of an unknown customer.
    """
    numbers = np.arange(first, first + count)
    kind = numbers % 5
    values = np.stack([numbers % 90, numbers % 4, numbers % 300, numbers % 2, 1 + numbers % 9], axis=1).astype(float)
    values[kind == 2, 2] = np.nan
    event_times = np.full((count, 2), NOW - 100.25)
    event_times[kind == 1, 1] -= ACTIVITY_TTL
    values[kind == 3], event_times[kind == 3] = np.nan, np.nan
    resolver = Resolver.of(model.contract)
    resolved = resolver.resolve(RawFeatures(values, event_times), NOW)
    return Answers(
        request_ids=[request_id] * count,
        rows=numbers.tolist(),
        keys=[f"c{number}" for number in numbers],
        as_of_unix_us=NOW_US,
        model=model,
        answered=np.ones(count, dtype=bool),
        resolved=resolved,
        outcomes=outcomes(resolved, model.score(resolved.matrix), task_outputs(model.contract)),
    )


def _log_until_killed(folder: Path, request_id: str) -> None:
    settings = ServiceSettings(inference_log_flush_seconds=FLUSH_SECONDS, inference_log_file_mb=1)
    with tempfile.TemporaryDirectory() as stored:
        model = small_model(Path(stored))
    log = InferenceLog(folder, settings, ServiceMetrics("small_churn", CollectorRegistry()))
    put = 0
    while True:
        log.put(answers(model, 20, put, request_id))
        put += 20
        print(put, flush=True)
        time.sleep(0.002)


if __name__ == "__main__":
    _log_until_killed(Path(sys.argv[1]), sys.argv[2])
