"""What a load consists of, and what came of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LoadPlan:
    """One measurement.

    requests: whole HTTP requests, sent in turn by all connections together.
    row: regular expression that matches once per row in the body of a good answer.
    matches: how often it does in one answer.
    least, most_seconds: a closed loop goes on until so many answers have come, but no longer than this.
    count: stop after so many answers; 0 stops by time.
    rate: requests per second, sent when they are due whatever is still unanswered; 0 is a closed loop, in which
        every connection sends the next request when it has the answer to the last.
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
    """What came of a plan.

    latencies: seconds, one per measured request: from sending it, or with a rate from when it was due.
    per_second: measured answers per second.
    errors: requests without a good answer, those of the warm-up included; `first_error` says what the first was.
    answered: all answers, those of the warm-up included.
    cpu_seconds, elapsed: the generator's own processor time and how long it took; busy means that it was the limit.
    sent_late_p99: seconds by which the generator itself missed the due times; waiting for a connection is not in it.
    """

    latencies: NDArray[np.float64]
    per_second: float
    errors: int
    first_error: str
    answered: int
    cpu_seconds: float
    elapsed: float
    sent_late_p99: float | None = None
