"""Entities that are looked up together, their scored rows, and the rows of the inference log."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from contract import Key, RawFeatures, ResolvedFeatures
from scoring.inference_log import Answers
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import Outcomes


class AnswerLog(Protocol):
    """Where answers are kept."""

    def put(self, answers: Answers, /) -> None:
        """Take n rows; never waits and never fails."""
        ...


class Scored(NamedTuple):
    """n rows that a model has scored."""

    resolved: ResolvedFeatures
    outcomes: Outcomes

    def take(self, rows: NDArray[np.intp]) -> "Scored":
        """Some of them."""
        return Scored(self.resolved.take(rows), self.outcomes.take(rows))


class Batch(NamedTuple):
    """n entities that are looked up together.

    keys: of the entities.
    as_of_unix_us: int64 (n,), or one time for all.
    request_ids, rows: each row's request and its position in the request.
    overrides: feature reference → value, for every row; checked by the champion's contract.
    given: request input → n values that the requests gave; None if no live model asks for any.
    """

    keys: Sequence[Key]
    as_of_unix_us: int | NDArray[np.int64]
    request_ids: Sequence[str]
    rows: Sequence[int]
    overrides: Mapping[str, object] | None = None
    given: Mapping[str, Sequence[Any]] | None = None

    @property
    def as_of_seconds(self) -> NDArray[np.float64]:
        """Unix seconds, (n,) or ()."""
        return np.asarray(self.as_of_unix_us, dtype=np.float64) / 1e6

    def take(self, rows: NDArray[np.intp]) -> "Batch":
        """Some of them."""
        as_of = self.as_of_unix_us
        return Batch(
            keys=[self.keys[row] for row in rows],
            as_of_unix_us=as_of if isinstance(as_of, int) else as_of[rows],
            request_ids=[self.request_ids[row] for row in rows],
            rows=[self.rows[row] for row in rows],
            overrides=self.overrides,
            given=self.given and {name: [values[row] for row in rows] for name, values in self.given.items()},
        )

    @classmethod
    def joined(cls, batches: Sequence["Batch"]) -> "Batch":
        """Concatenate batches without overrides."""
        as_of = [np.broadcast_to(np.asarray(b.as_of_unix_us, dtype=np.int64), len(b.keys)) for b in batches]
        return cls(
            keys=[key for b in batches for key in b.keys],
            as_of_unix_us=np.concatenate(as_of),
            request_ids=[request_id for b in batches for request_id in b.request_ids],
            rows=[row for b in batches for row in b.rows],
            given=batches[0].given
            and {name: [value for b in batches for value in (b.given or {})[name]] for name in batches[0].given},
        )


def answers_of(batch: Batch, part: RawFeatures, model: ImportedModel, scored: Scored, answered: bool) -> Answers:
    """Make n rows of the inference log, without the rows that could not be read: they have no answer.

    Args:
        part: the rows as read, with the model's inputs only.
        answered: this model gave the answers.
    """
    unread = part.unread_rows
    if unread is not None:
        rows = np.flatnonzero(~unread)
        batch, part, scored = batch.take(rows), part.take(rows), scored.take(rows)
    return Answers(
        request_ids=batch.request_ids,
        rows=batch.rows,
        keys=batch.keys,
        as_of_unix_us=batch.as_of_unix_us,
        model=model,
        answered=np.full(len(batch.keys), answered),
        resolved=scored.resolved,
        outcomes=scored.outcomes,
        cached_seconds=part.cached_seconds,
        given=batch.given,
    )
