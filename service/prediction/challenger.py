"""The second live model. It scores what was read for both, and can neither slow nor break the champion.

It works in a thread of its own. In mode `shadow` it scores after the answer, many requests at once. In mode `canary` it
answers a share of the entities within a time budget; the champion answers if it is late or fails.
"""

import asyncio
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from artefacts.challenger_file import Mode
from contract import Key, OverrideError, RawFeatures, key_text
from contract.feature_union import FeatureUnion
from scoring.models.imported_model import ImportedModel
from service.prediction.batch import AnswerLog, Batch, Scored
from service.prediction.live_model import LiveModel
from service.telemetry.metrics import ServiceMetrics

logger = logging.getLogger(__name__)

_GATHER_SECONDS = 0.02
"""A shadow waits so long for more requests, then scores them together."""
_MOST_ROWS = 20_000
"""At most so many rows wait for a shadow; further ones are dropped and counted."""


class _Job(NamedTuple):
    """Rows to score; `part` holds this model's inputs, and a canary's answer is waited for at `done`."""

    batch: Batch
    part: RawFeatures
    done: "asyncio.Future[Scored] | None"


class Challenger:
    """See the module.

    Args:
        share: share of the entities that a canary answers, 0 to 1.
        budget_seconds: how long a request waits for the canary.
        log: where its rows are kept.
    """

    def __init__(
        self,
        model: ImportedModel,
        union: FeatureUnion,
        mode: Mode,
        share: float,
        metrics: ServiceMetrics,
        budget_seconds: float,
        log: AnswerLog | None = None,
    ) -> None:
        self.live = LiveModel(model, union, metrics, log, identity=model.identity)
        self.mode = mode
        self.share = share
        self._metrics = metrics
        self._budget_seconds = budget_seconds
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # Each count is written by one thread only.
        self._rows_put = self._rows_taken = 0
        self._behind = self._failing = self._closed = False
        # A daemon, because the process must be able to end while a model hangs.
        self._thread = threading.Thread(target=self._work, name="challenger", daemon=True)
        self._thread.start()

    def answers(self, key: Key) -> bool:
        """True if the canary answers for this key. The choice is fixed; a larger share includes a smaller."""
        if self.mode != "canary":
            return False
        digest = hashlib.blake2b(key_text(key).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.share * 2**64

    def chosen(
        self, keys: Sequence[Key], part: RawFeatures, champion_unread: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_]:
        """Bool (n,): the rows that it answers. The champion answers those whose inputs it could not read.

        Args:
            part: what this model takes of what was read.
            champion_unread: bool (n,), rows that could not be read for the champion; None if all could.
        """
        chosen = np.array([self.answers(key) for key in keys], dtype=bool)
        unread = part.unread_rows
        if unread is not None:
            alone = unread if champion_unread is None else unread & ~champion_unread
            lost = int(np.count_nonzero(chosen & alone))
            if lost:
                self._metrics.challenger("failed", lost)
            chosen &= ~unread
        return chosen

    def shadow(self, batch: Batch, raw: RawFeatures) -> None:
        """Queue the rows, unless too many wait already."""
        rows = len(batch.keys)
        if self._rows_put - self._rows_taken + rows > _MOST_ROWS:
            self._metrics.challenger("dropped", rows)
            return
        self._rows_put += rows
        self._jobs.put(_Job(batch, self.live.part.of(raw), None))

    async def answer(self, batch: Batch, part: RawFeatures) -> Scored | None:
        """Score these rows now; None if that fails, takes too long, or has overrides that only the champion takes."""
        if self._behind:  # still busy with rows that it was too late for
            self._metrics.challenger("late", len(batch.keys))
            return None
        if not self._takes(batch):
            return None
        done: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(batch, part, done))
        try:
            async with asyncio.timeout(self._budget_seconds):
                return await done
        except TimeoutError:
            self._behind = True
            self._jobs.put(None)  # the thread clears `_behind` when it gets here
            self._metrics.challenger("late", len(batch.keys))
            return None
        except Exception:
            return None  # logged by the thread

    def close(self, seconds: float = 1) -> None:
        """End the thread after its current job; wait at most `seconds` for it. Rows that still wait are dropped."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while not self._closed:
            job = self._jobs.get()
            if job is None:
                self._behind = False
            elif job.done is not None:
                self._answer(job.batch, job.part, job.done)
            else:
                time.sleep(_GATHER_SECONDS)
                self._shadow([job, *self._others()])
        self._metrics.challenger("dropped", sum(len(job.batch.keys) for job in self._others()))

    def _answer(self, batch: Batch, part: RawFeatures, done: "asyncio.Future[Scored]") -> None:
        if done.done():  # nobody waits any more
            return
        loop = done.get_loop()
        try:
            scored = self._score(batch, part)
        except Exception as error:
            self._note_failure(error)
            loop.call_soon_threadsafe(self._finish, done, error, len(batch.keys))
        else:
            loop.call_soon_threadsafe(self._finish, done, scored, len(batch.keys))

    def _finish(self, done: "asyncio.Future[Scored]", came: Scored | Exception, rows: int) -> None:
        """On the event loop, hand over the result and count it. A late one has been counted already."""
        if done.done():
            return
        if isinstance(came, Exception):
            self._metrics.challenger("failed", rows)
            done.set_exception(came)
        else:
            self._metrics.challenger("scored", rows)
            done.set_result(came)

    def _others(self) -> list[_Job]:
        """Take everything that waits. Only this thread takes, so a queue that is not empty stays so."""
        found = []
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                found.append(job)
        return found

    def _shadow(self, jobs: list[_Job]) -> None:
        self._rows_taken += sum(len(job.batch.keys) for job in jobs)
        jobs = [job for job in jobs if self._takes(job.batch)]
        plain = [job for job in jobs if not job.batch.overrides]
        for together in [[job] for job in jobs if job.batch.overrides] + ([plain] if plain else []):
            rows = sum(len(job.batch.keys) for job in together)
            try:
                self._score_and_log(together)
            except Exception as error:
                self._metrics.challenger("failed", rows)
                self._note_failure(error)
            else:
                self._metrics.challenger("scored", rows)

    def _takes(self, batch: Batch) -> bool:
        """False for overrides that only the champion takes, of another vocabulary or a null: no fault of this model."""
        if not batch.overrides:
            return True
        try:
            self._overrides(batch)
        except OverrideError:
            self._metrics.challenger("dropped", len(batch.keys))
            return False
        return True

    def _overrides(self, batch: Batch) -> dict[int, float]:
        # The champion's contract has checked them. They may name inputs that this model does not take.
        resolver = self.live.resolver
        return resolver.check_overrides({k: v for k, v in (batch.overrides or {}).items() if k in resolver.names})

    def _score_and_log(self, jobs: list[_Job]) -> None:
        batch, part = jobs[0].batch, jobs[0].part
        if len(jobs) > 1:
            batch = Batch.joined([job.batch for job in jobs])
            part = RawFeatures.joined([job.part for job in jobs])
        scored = self._score(batch, part)
        self.live.log(batch, part, scored, answered=False)

    def _score(self, batch: Batch, part: RawFeatures) -> Scored:
        started = time.perf_counter()
        overrides = self._overrides(batch)
        scored = self.live.decide(part, batch.as_of_seconds, overrides, self.live.model.score)
        self._metrics.stage("challenger", time.perf_counter() - started)
        self._failing = False
        return scored

    def _note_failure(self, error: Exception) -> None:
        if not self._failing:  # log once, until it works again
            logger.warning("challenger %s fails: %s", self.live.model.tag, type(error).__name__)
        self._failing = True
