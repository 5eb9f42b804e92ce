"""The scores that champion and challenger gave to the same rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.inference_log.logged_scores import LoggedScores
from jobs.inference_log.reading import Opener
from jobs.quality.comparison_report import PairCurves
from scoring.errors import ModelError
from scoring.evaluation import Bools, Floats, Scored, metrics_of, proportion

_DIFFERENCE_BINS = 21
"""Odd, so that rows on which both models agree closely are in the middle one."""

BOTH_SCORED = "before IS NOT NULL AND now IS NOT NULL"
"""Of a row of the view `pairs`."""


@dataclass(frozen=True)
class PairedScores:
    """The n rows that both models of a pair scored, and how their scores differ.

    before, now: (n,), or (n, c) for c classes.
    equal: bool (n,), the answers count as equal.
    day: datetime64[D] (n,), of the request, UTC.
    """

    before: Floats
    now: Floats
    equal: Bools
    day: NDArray[np.datetime64]

    @classmethod
    def of(cls, scores: LoggedScores, champion: str, challenger: str) -> "PairedScores":
        """Read them from the view `pairs`."""
        rows = scores.arrays(
            f"SELECT before, now, agreed, CAST(as_of AS DATE) AS day FROM pairs "  # noqa: S608
            f"WHERE champion = ? AND challenger = ? AND {BOTH_SCORED}",
            champion,
            challenger,
        )
        before, now, equal = rows["before"], rows["now"], rows["agreed"]
        if scores.task == "regression" and len(before):
            table = metrics_of(scores.task)
            equal = ~table.changed_decisions(Scored(before), Scored(now), table.scale_of(before))
        return cls(before, now, equal.astype(bool), rows["day"])

    def curves(self) -> PairCurves:
        """What the charts show."""
        days, which = np.unique(self.day, return_inverse=True)
        by_day = [
            (str(day), proportion(int(equal), int(rows)))
            for day, equal, rows in zip(days, np.bincount(which, self.equal), np.bincount(which), strict=True)
        ]
        if self.before.ndim == 2:
            difference, low = np.abs(self.now - self.before).sum(axis=1) / 2, 0.0
        else:
            difference, low = self.now - self.before, -1.0
        widest = float(np.abs(difference).max(initial=0.0)) or 1.0
        counts, edges = np.histogram(difference, bins=_DIFFERENCE_BINS, range=(low * widest, widest))
        return PairCurves(by_day, edges.tolist(), counts.tolist())


def why_incomparable(scores: LoggedScores, champion: str, challenger: str, both: PairedScores, opened: Opener) -> str:
    """Why the scores of two models cannot be compared; empty if they can."""
    if scores.task != "multiclass":
        return ""
    if both.before.shape != both.now.shape:
        return f"{both.before.shape[1]} classes and {both.now.shape[1]}"
    try:
        contracts = [scores.contracts.get(tag) or opened(tag).contract for tag in (champion, challenger)]
    except ModelError:
        return ""  # as many classes; whether they are the same is not known
    one, other = (getattr(contract.task, "classes", ()) for contract in contracts)
    return "" if one == other else f"their classes are {', '.join(one)} and {', '.join(other)}"
