"""Reads the rows to compare from the inference log: the latest row of each entity."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contract import ContractError, FeatureState, ModelContract
from contract.values.vocabulary import UNSEEN_CODE
from jobs.drift.score_columns import score_columns
from jobs.inference_log.reading import LoggedRows, LogReading, Opener, logged_keys, refuse_other_contract
from jobs.offline_store.key_tables import key_hashes
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from scoring.models.other_inputs import by_inputs_of, seen_by
from scoring.task_outputs import Outputs, task_outputs

MOST_ENTITIES = 50_000
"""Of more, a fixed sample is taken: larger samples find differences that are too small to matter."""


@dataclass
class LatestRows:
    """The latest row of each of at most `MOST_ENTITIES` entities that were known online.

    contract: of the model to compare, with k inputs and m columns of scores.
    values: float64 (n, k), codes of categories; NaN where a default stood in for a missing or stale value.
    scores: float64 (n, m), NaN where the row was not scored.
    """

    contract: ModelContract
    identities: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    times: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    def add(self, rows: LoggedRows, by: ImportedModel, to: ImportedModel) -> None:
        """Add rows, without those of unknown keys and those with a value from the request.

        Args:
            by: the model that answered the rows.
            to: the model to compare. If it is another model, it scores the values that `by` saw.

        Raises:
            ModelError: `by` did not read an input of `to`.
        """
        rows = rows.take(np.flatnonzero(rows.known & ~(rows.states == FeatureState.OVERRIDDEN).any(axis=1)))
        values = np.where(rows.defaulted, np.nan, rows.inputs.astype(np.float64))
        values[rows.defaulted & (rows.states == FeatureState.UNSEEN)] = UNSEEN_CODE
        outputs = rows.outputs
        if by.tag != to.tag:
            values, outputs = _seen_by(to, by, values, rows.scored)
        made = [column.values(outputs) for column in self._scores.values()]
        scores = np.where(rows.scored[:, None], np.stack(made, axis=1), np.nan)
        identities = np.append(self.identities, key_hashes(rows.keys))
        times = np.append(self.times, rows.as_of_us)
        values = np.concatenate([self.values.reshape(-1, values.shape[1]), values])
        scores = np.concatenate([self.scores.reshape(-1, scores.shape[1]), scores])
        order = np.lexsort((-times, identities))
        first = np.unique(identities[order], return_index=True)[1]  # ascending, and the latest of each
        kept = order[first[:MOST_ENTITIES]]
        self.identities, self.times = identities[kept], times[kept]
        self.values, self.scores = values[kept], scores[kept]

    def __post_init__(self) -> None:
        self._scores = score_columns(self.contract)

    def __len__(self) -> int:
        return len(self.identities)

    def frame(self) -> pd.DataFrame:
        """One column for each input, and one for each of the scores."""
        inputs, scores = self.contract.feature_names, list(self._scores)
        columns = np.hstack([self.values.reshape(-1, len(inputs)), self.scores.reshape(-1, len(scores))])
        return pd.DataFrame(columns, columns=[*inputs, *scores])


@dataclass
class DriftLog:
    """Reads the inference log and notes problems.

    problems: one line for each model that cannot be used and each file that cannot be read.
    """

    folder: Path
    opened: Opener
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._models: dict[str, ImportedModel | None] = {}

    @property
    def unusable(self) -> set[str]:
        """Tags of models whose rows cannot be used."""
        return {tag for tag, model in self._models.items() if model is None}

    def first_answers(self) -> dict[str, datetime]:
        """Model tag → time of its first answer that the log still holds."""
        found: dict[str, datetime] = {}
        for tag, table in self._reading(None, None):
            first = pc.min(table["as_of"]).as_py()
            found[tag] = min(first, found.get(tag, first))
        return found

    def chunks(self, since: datetime | None, until: datetime | None) -> Iterator[tuple[ImportedModel, LoggedRows]]:
        """Yield models and rows that they answered in [since, until)."""
        for tag, table in self._reading(since, until):
            try:
                if tag not in self._models:
                    self._models[tag] = None  # so that a model's problem is reported once
                    self._models[tag] = self.opened(tag)
                model = self._models[tag]
                if model is None:
                    continue
                refuse_other_contract(table, model)
                yield model, LoggedRows.of(table, logged_keys(table, model.contract), model.contract)
            except (ModelError, ContractError) as error:
                self._models[tag] = None
                self.add_problem(f"rows of model {tag}: {error}")

    def _reading(self, since: datetime | None, until: datetime | None) -> Iterator[tuple[str, pa.Table]]:
        reading = LogReading(self.folder, since, until)
        yield from reading.chunks()
        for line in reading.damaged:
            self.add_problem(line)

    def add_problem(self, problem: str) -> None:
        """Note a problem once."""
        if problem not in self.problems:
            self.problems.append(problem)


def _seen_by(
    to: ImportedModel, by: ImportedModel, values: NDArray[np.float64], scored: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], Outputs]:
    """The values that `by` saw, by the inputs of `to`, and what `to` answers; rows that were not scored have NaN."""
    own = by_inputs_of(to.contract, by.contract.inputs, values)
    rules = task_outputs(to.contract)
    made = np.full((len(own),) if rules.score_width is None else (len(own), rules.score_width), np.nan)
    if scored.any():
        made[scored] = to.score(seen_by(to.contract, own[scored]))
    return own, rules.of(made)
