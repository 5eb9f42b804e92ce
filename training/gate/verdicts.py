"""What the gate says of a measured difference: it looks at the interval, never at the figure alone."""

from dataclasses import dataclass
from enum import StrEnum

from scoring.evaluation import Estimate, PairedEstimate


class Verdict(StrEnum):
    """What an interval shows of a candidate, against a margin.

    BETTER: it is better; the interval lies wholly above zero.
    NOT_WORSE: it is not worse by more than the margin; the interval begins there or above.
    WORSE: it is worse by more than the margin; the interval lies wholly below.
    CANNOT_TELL: the interval holds both, or there are too few rows for one.
    """

    BETTER = "better"
    NOT_WORSE = "not worse"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"


def verdict_on(difference: Estimate | None, margin: float) -> Verdict:
    """What a difference shows.

    Args:
        difference: the candidate's figure less the other's, where larger is better; None for too few rows.
        margin: by how much the candidate may be worse, ≥ 0.
    """
    if difference is None:
        return Verdict.CANNOT_TELL
    if difference.low >= -margin:  # so written, NaN shows nothing
        return Verdict.BETTER if difference.low > 0 else Verdict.NOT_WORSE
    return Verdict.WORSE if difference.high < -margin else Verdict.CANNOT_TELL


def less_is_better(difference: Estimate) -> Estimate:
    """The same difference of a figure whose smaller value is the better one, as `verdict_on` takes it."""
    return Estimate(-difference.value, -difference.high, -difference.low)


@dataclass(frozen=True)
class Judged:
    """One figure of both versions on the same rows, and what its interval shows.

    paired: None with fewer than `scoring.evaluation.FEWEST_OF_A_CLASS` rows of either class.
    margin: by how much the candidate may be worse.
    """

    what: str
    rows: int
    paired: PairedEstimate | None
    margin: float
    verdict: Verdict

    @property
    def passes(self) -> bool:
        """True if it is shown that the candidate is not worse by more than the margin."""
        return self.verdict in (Verdict.BETTER, Verdict.NOT_WORSE)

    def __str__(self) -> str:
        said = {
            Verdict.BETTER: "better",
            Verdict.NOT_WORSE: f"not worse by more than {self.margin:g}",
            Verdict.WORSE: f"worse by more than {self.margin:g}",
            Verdict.CANNOT_TELL: f"cannot tell whether it is worse by more than {self.margin:g}",
        }
        found = self.paired or "too few of a kind"
        return f"{self.what} {found} on {self.rows:,} rows: {said[self.verdict]}"
