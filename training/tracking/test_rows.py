"""The test rows beside a registered version: what the import, the gate and the champion's comparison score again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from contract import FeatureInput
from contract.model_contract import EVERYONE
from contract.values.vocabulary import MISSING_CODE
from scoring.evaluation import Bools, Floats, Labels
from training.errors import ModelImportError, TrainingError
from training.row_splits.split_rows import REQUESTED_AT

LABEL = "label"
_SCORE, _POPULATION = "score", "population_"
_VERSION_1 = {"churned": LABEL, "active": f"{_POPULATION}active", "probability": _SCORE}
"""Columns of versions that were registered before there were other tasks → today's."""


def test_rows(
    matrix: pd.DataFrame,
    requested_at: "pd.Series[Any]",
    labels: Labels,
    populations: Mapping[str, Bools],
    scores: Floats,
) -> pd.DataFrame:
    """The model's input and, beside it, request time, label, a mask for each population, and the model's scores.

    Args:
        matrix: (n, k).
        labels: (n,), as the task's metrics take them.
        scores: (n,) as `score`, or (n, c) as `score_0` to `score_<c − 1>`.
    """
    names = score_columns(None if scores.ndim == 1 else scores.shape[1])
    columns = dict(zip(names, scores.reshape(len(scores), -1).T, strict=True))
    masks = {f"{_POPULATION}{name}": mask for name, mask in populations.items() if name != EVERYONE}
    return matrix.assign(**{REQUESTED_AT: requested_at.to_numpy(), LABEL: labels, **masks, **columns})


def score_columns(width: int | None) -> list[str]:
    """Names of the columns with scores (n,), or (n, width)."""
    return [_SCORE] if width is None else [f"{_SCORE}_{i}" for i in range(width)]


def scores_in(rows: pd.DataFrame, width: int | None) -> Floats:
    """The scores as `test_rows` wrote them: (n,), or (n, width).

    Raises:
        TrainingError: a column is missing.
    """
    names = score_columns(width)
    if missing := [name for name in names if name not in rows]:
        raise TrainingError(f"there is no column {missing[0]!r}; expected are {', '.join(names)}")
    scores: Floats = rows[names].to_numpy(dtype=np.float64)
    return scores[:, 0] if width is None else scores


def refuse_other_codes(rows: pd.DataFrame, inputs: Sequence[FeatureInput], what: str) -> None:
    """Refuse test rows with codes that the contract's vocabularies do not have.

    Args:
        what: the version, for the message.

    Raises:
        ModelImportError: names the input.
    """
    for given in inputs:
        if given.codes is None or given.name not in rows:
            continue
        if not rows[given.name].isin(np.arange(MISSING_CODE, len(given.codes))).all():
            raise ModelImportError(
                f"{what}: its test rows have codes of {given.name!r} that are not in the contract's vocabulary of "
                f"{len(given.codes)} values; train it again"
            )


@dataclass(frozen=True)
class JudgedRows:
    """Test rows as the gate takes them.

    populations: name → mask (n,), with `all`.
    """

    inputs: pd.DataFrame
    requested_at: "pd.Series[Any]"
    labels: Labels
    populations: Mapping[str, Bools]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "JudgedRows":
        """Read what `test_rows` wrote, or an earlier version of it.

        Raises:
            TrainingError: a column is missing.
        """
        if LABEL not in rows:
            rows = rows.rename(columns=_VERSION_1)
        for needed in (REQUESTED_AT, LABEL):
            if needed not in rows:
                raise TrainingError(
                    f"its test rows lack the column {needed}; it was registered by an earlier version, train it again"
                )
        masks = {
            name.removeprefix(_POPULATION): rows[name].to_numpy(dtype=bool)
            for name in map(str, rows.columns)
            if name.startswith(_POPULATION)
        }
        return cls(
            inputs=rows,
            requested_at=rows[REQUESTED_AT],
            labels=rows[LABEL].to_numpy(),
            populations={EVERYONE: np.ones(len(rows), dtype=bool), **masks},
        )

    def __len__(self) -> int:
        return len(self.labels)
