"""What load to apply, what came of it, and the process that applies it."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

_START_SECONDS = 60.0
_GRACE_SECONDS = 60.0


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


class LoadGenerator:
    """The process that sends requests; it lives through all measurements."""

    def __init__(self, connection: "Connection[LoadPlan | None, LoadResult]") -> None:
        self._connection = connection

    def apply(self, plan: LoadPlan) -> LoadResult:
        """Carry out one plan.

        Raises:
            TimeoutError: it took far longer than it may.
        """
        self._connection.send(plan)
        longest = plan.most_seconds + plan.warm_up_seconds + _GRACE_SECONDS
        if not self._connection.poll(longest):
            raise TimeoutError(f"the load generator did not finish within {longest:g} s")
        return self._connection.recv()


@contextmanager
def load_generator(core: int | None) -> Iterator[LoadGenerator]:
    """A load generator on a processor core of its own; it ends with the block."""
    from benchmarks.load_generator import carry_out_plans

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=carry_out_plans, args=(theirs, core), daemon=True)
    process.start()
    theirs.close()
    try:
        yield LoadGenerator(ours)
        ours.send(None)
    finally:
        process.join(timeout=5)
        if process.is_alive():
            process.kill()
            process.join()
        ours.close()
