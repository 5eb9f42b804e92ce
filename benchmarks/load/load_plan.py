"""A plan of load and its result."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LoadPlan:
    """One measurement.

    requests: complete HTTP requests, sent in turn over all connections.
    row: regular expression that matches once per row in the body of a good answer.
    matches: number of its matches in one good answer.
    least, most_seconds: a closed loop runs on until it has this many answers, but at most this long.
    count: stop after this many answers; 0 stops by time.
    rate: requests per second, sent when due, answered or not; 0 is a closed loop, in which every connection sends its
        next request after the answer to the last.
    """

    port: int
    requests: tuple[bytes, ...]
    row: bytes
    matches: int
    connections: int
    seconds: float
    warm_up_seconds: float
    least: int = 5
    most_seconds: float = 60.0
    count: int = 0
    rate: float = 0.0


@dataclass(frozen=True)
class LoadResult:
    """Result of a plan.

    latencies: seconds per measured request, from sending it or, with a rate, from when it was due.
    per_second: measured answers per second.
    errors: requests without a good answer, warm-up included; `first_error` describes the first.
    answered: all answers, warm-up included.
    cpu_seconds, elapsed: the generator's processor time and duration; if they are close, the generator was the limit.
    sent_late_p99: seconds by which the generator missed due times, without waiting for connections.
    """

    latencies: NDArray[np.float64]
    per_second: float
    errors: int
    first_error: str
    answered: int
    cpu_seconds: float
    elapsed: float
    sent_late_p99: float | None = None
