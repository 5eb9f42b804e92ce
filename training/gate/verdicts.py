"""The gate's verdict on a measured difference; it depends on the interval, never on the value alone."""

from dataclasses import dataclass
from enum import StrEnum

from scoring.evaluation import Estimate, Metric, PairedEstimate


class Verdict(StrEnum):
    """What the interval of a difference shows about a candidate.

    BETTER: the interval lies above zero.
    NOT_WORSE: not worse by more than the margin; the interval begins at −margin or above.
    WORSE: worse by more than the margin; the interval lies below −margin.
    CANNOT_TELL: the interval contains −margin, or there are too few rows for an interval.
    """

    BETTER = "better"
    NOT_WORSE = "not worse"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"


def verdict_on(difference: Estimate | None, margin: float) -> Verdict:
    """The verdict on a difference.

    Args:
        difference: candidate minus champion of a metric where larger is better; None for too few rows.
        margin: by how much the candidate may be worse, ≥ 0.
    """
    if difference is None:
        return Verdict.CANNOT_TELL
    if difference.low >= -margin:  # NaN fails this comparison
        return Verdict.BETTER if difference.low > 0 else Verdict.NOT_WORSE
    return Verdict.WORSE if difference.high < -margin else Verdict.CANNOT_TELL


def improvement(metric: Metric, difference: Estimate) -> Estimate:
    """A difference of a metric as `verdict_on` takes it: negated if smaller values are better."""
    if metric.higher_is_better:
        return difference
    return Estimate(-difference.value, -difference.high, -difference.low)


@dataclass(frozen=True)
class JudgedMetric:
    """A metric of both versions on the same rows, with its verdict.

    paired: None if the rows are too few for an interval, see `TaskMetrics.too_few`.
    margin: by how much the candidate may be worse.
    """

    what: str
    rows: int
    paired: PairedEstimate | None
    margin: float
    verdict: Verdict

    @property
    def passes(self) -> bool:
        """True if the candidate is shown to be not worse by more than the margin."""
        return self.verdict in (Verdict.BETTER, Verdict.NOT_WORSE)

    def __str__(self) -> str:
        said = {
            Verdict.BETTER: "better",
            Verdict.NOT_WORSE: f"not worse by more than {self.margin:g}",
            Verdict.WORSE: f"worse by more than {self.margin:g}",
            Verdict.CANNOT_TELL: f"cannot tell whether it is worse by more than {self.margin:g}",
        }
        found = self.paired or "too few rows"
        return f"{self.what} {found} on {self.rows:,} rows: {said[self.verdict]}"
