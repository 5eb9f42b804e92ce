"""Reads the rows to compare from the inference log: the latest row of each customer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contract import ContractError, FeatureState
from jobs.drift.baseline import SCORE
from jobs.inference_log.reading import LoggedRows, LogReading, Opener, logged_keys, refuse_other_contract
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel

MOST_CUSTOMERS = 50_000
"""Of more, a fixed sample is taken: larger samples find differences that are too small to matter."""


@dataclass
class LatestRows:
    """The latest row of each of at most `MOST_CUSTOMERS` customers who were known online.

    names: of the k inputs.
    values: float64 (n, k), NaN where a default stood in.
    scores: float64 (n,), NaN where the row was not scored.
    """

    names: list[str]
    identities: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    times: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def add(self, rows: LoggedRows, by: ImportedModel, to: ImportedModel) -> None:
        """Add rows, without those of unknown customers and those with a value from the request.

        Args:
            by: the model that answered the rows.
            to: the model whose inputs `names` are. If it is another model, it scores the values that `by` saw.

        Raises:
            ModelError: `by` did not read an input of `to`.
        """
        rows = rows.take(np.flatnonzero(rows.known & ~(rows.states == FeatureState.OVERRIDDEN).any(axis=1)))
        values = np.where(rows.defaulted, np.nan, rows.inputs.astype(np.float64))
        scores = rows.outputs[0]
        if by.tag != to.tag:
            values, scores = _seen_by(to, by, values, scores)
        identities = np.append(self.identities, pd.util.hash_array(rows.keys.to_numpy(zero_copy_only=False)))
        times = np.append(self.times, rows.as_of_us)
        values = np.concatenate([self.values.reshape(-1, len(self.names)), values])
        scores = np.append(self.scores, scores)
        order = np.lexsort((-times, identities))
        first = np.unique(identities[order], return_index=True)[1]  # ascending, and the latest of each
        kept = order[first[:MOST_CUSTOMERS]]
        self.identities, self.times = identities[kept], times[kept]
        self.values, self.scores = values[kept], scores[kept]

    def __len__(self) -> int:
        return len(self.identities)

    def frame(self) -> pd.DataFrame:
        """One column for each input, and `SCORE`."""
        return pd.DataFrame(self.values.reshape(-1, len(self.names)), columns=self.names).assign(**{SCORE: self.scores})


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
    to: ImportedModel, by: ImportedModel, values: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values that `by` saw in the order of the inputs of `to`, and the scores of `to` for rows that were scored."""
    columns = {name: column for column, name in enumerate(by.contract.feature_names)}
    if missing := [name for name in to.contract.feature_names if name not in columns]:
        raise ModelError(f"it does not read {', '.join(missing)}, which {to.tag} does")
    own = values[:, [columns[name] for name in to.contract.feature_names]]
    defaults = np.array([given.default for given in to.contract.inputs])
    scored = np.isfinite(scores)
    made = np.full(len(own), np.nan)
    if scored.any():
        made[scored] = to.score(np.where(np.isnan(own), defaults, own)[scored].astype(np.float32))
    return own, made
