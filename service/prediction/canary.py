"""The canary's share of the answers: the challenger gives them within its budget, or else the champion does."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contract import RawFeatures
from service.prediction.batch import Batch, Scored
from service.prediction.challenger import Challenger
from service.prediction.live_model import LiveModel
from service.prediction.predictions import Prediction


@dataclass(frozen=True, slots=True)
class PendingCanary:
    """The answer for one entity of the challenger's share; only its own request waits for it.

    made: the rows of the whole share as scored by the model that answered, and their predictions.
    """

    made: "asyncio.Task[tuple[Scored, list[Prediction]]]"
    row: int

    async def answer(self) -> tuple[Scored, Prediction]:
        """Wait for it. A request that stops waiting does not stop the work for the others."""
        if not self.made.done():
            await asyncio.shield(self.made)
        scored, predictions = self.made.result()
        return scored, predictions[self.row]


class Canary:
    """Splits the answers of a batch between the champion, at once, and the challenger, later."""

    def __init__(self, challenger: Challenger, champion: LiveModel) -> None:
        self._challenger = challenger
        self._champion = champion
        self._tasks: set[asyncio.Task[tuple[Scored, list[Prediction]]]] = set()  # asyncio holds tasks only weakly

    def answer(
        self, batch: Batch, raw: RawFeatures, part: RawFeatures, champion: Scored
    ) -> list[Prediction | PendingCanary]:
        """Answer n rows, in order.

        Args:
            raw: what was read for both models; `part` is what the champion takes of it.
            champion: what the champion made of all n rows.
        """
        own_part = self._challenger.live.part.of(raw)
        chosen = self._challenger.chosen(batch.keys, own_part, part.unread_rows)
        rows, others = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        if not len(rows):
            return list(self._champion.answer(batch, part, champion))
        made = asyncio.ensure_future(
            self._answer_share(batch.take(rows), own_part.take(rows), part.take(rows), champion.take(rows))
        )
        self._tasks.add(made)
        made.add_done_callback(self._tasks.discard)
        pending = (PendingCanary(made, row) for row in range(len(rows)))
        answered = iter(self._champion.answer(batch.take(others), part.take(others), champion.take(others)))
        return [next(pending) if is_chosen else next(answered) for is_chosen in chosen.tolist()]

    async def _answer_share(
        self, batch: Batch, own_part: RawFeatures, part: RawFeatures, champion: Scored
    ) -> tuple[Scored, list[Prediction]]:
        scored = await self._challenger.answer(batch, own_part)
        if scored is None:
            return champion, self._champion.answer(batch, part, champion)
        self._champion.log(batch, part, champion, answered=False)
        return scored, self._challenger.live.answer(batch, own_part, scored)


async def all_answered(answers: Sequence[Prediction | PendingCanary]) -> list[Prediction]:
    """Wait for the pending ones among n answers."""
    return [each if isinstance(each, Prediction) else (await each.answer())[1] for each in answers]
