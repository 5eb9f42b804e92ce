"""Starts the process that applies load, and sends it plans."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from benchmarks.load.load_plan import LoadPlan, LoadResult

_START_SECONDS = 60.0
_GRACE_SECONDS = 60.0


class LoadGenerator:
    """The process that sends requests; it lives through all measurements."""

    def __init__(self, connection: "Connection[LoadPlan | None, LoadResult]") -> None:
        self._connection = connection

    def apply(self, plan: LoadPlan) -> LoadResult:
        """Carry out one plan.

        Raises:
            TimeoutError: it exceeded its time by a minute.
        """
        self._connection.send(plan)
        longest = plan.most_seconds + plan.warm_up_seconds + _GRACE_SECONDS
        if not self._connection.poll(longest):
            raise TimeoutError(f"the load generator did not finish within {longest:g} s")
        return self._connection.recv()


@contextmanager
def load_generator(core: int | None) -> Iterator[LoadGenerator]:
    """Start a load generator on its own processor core; it ends with the block."""
    from benchmarks.load.load_generator import carry_out_plans

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
