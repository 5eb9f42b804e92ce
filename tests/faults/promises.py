"""What the service promises whatever happens around it, and how an exchange is held against that."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from tests.faults.load import Exchange, Load

DEADLINE_SECONDS = 0.250
"""`SERVICE_DEADLINE_MS` as it is by default; the tests leave it there."""

LONGEST_SECONDS = DEADLINE_SECONDS + 0.050
"""The longest answer: what the online store may take, and 50 ms for everything else.

An answer takes 2 ms where Redis takes none, so the 50 ms are mostly for the scheduling of two busy cores. More is
not allowed, however slow the machine: instead, what an exchange lost to a machine that did not run what was ready to
run is measured beside it (`Heartbeat.lost`) and taken off, and the table shows both.
"""

RECOVERY_SECONDS = 2.0
"""After the end of a fault; by then the circuit breaker has tried three times."""

TOLERANCE = 1e-4
"""Within which two probabilities of one customer are the same answer.

Recency is computed at request time, so a probability moves while a fault lasts: by less than 1e-6 a minute for these
customers. Two customers are further apart than the tolerance (`Truth` checks that), so a mixed-up answer is seen.
"""

Verdict = Literal["right", "designed", "wrong"]
Designed = Callable[[Exchange], bool]


@dataclass(frozen=True)
class Truth:
    """What each customer is to be answered: the row without the id, asked for before the fault."""

    rows: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> "Truth":
        """The rows of a batch of known customers that was answered while nothing was wrong."""
        probabilities = sorted(row["churn_probability"] for row in rows)
        close = sum(b - a <= TOLERANCE for a, b in pairwise(probabilities))
        assert close <= len(rows) // 10, "the customers are too alike to tell a mixed-up answer"
        return cls({row["customer_id"]: row for row in rows})

    def with_others(self, rows: Sequence[Mapping[str, Any]]) -> "Truth":
        """Of more customers than that."""
        return Truth({**{row["customer_id"]: row for row in rows}, **self.rows})

    def agrees(self, row: Mapping[str, Any]) -> bool:
        """True if this is the right row for the customer it names."""
        right = self.rows[row["customer_id"]]
        return (
            row["churn_probability"] is not None
            and abs(row["churn_probability"] - right["churn_probability"]) <= TOLERANCE
            and (row["churn"], row["status"], row["cached_seconds"])
            == (right["churn"], right["status"], right["cached_seconds"])
            and _issues(row) == _issues(right)
        )

    def agrees_but_is_flagged(self, row: Mapping[str, Any]) -> bool:
        """True if it is the right row, and says that it was made of features read earlier."""
        right = self.rows[row["customer_id"]]
        flagged = row["status"] == "degraded" and row["cached_seconds"] is not None and row["cached_seconds"] > 0
        return flagged and self.agrees({**row, "status": right["status"], "cached_seconds": None})


@dataclass(frozen=True)
class TruthOfEach(Truth):
    """What each customer is to be answered by each of several models: an answer must be right by the one it names."""

    of_version: Mapping[str, Truth] = field(default_factory=dict)

    def agrees(self, row: Mapping[str, Any]) -> bool:
        """True if this is the right row for the customer and the model version that it names."""
        return self.of_version[row["model"]["version"]].agrees(row)


def _issues(row: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Without the ages, which grow."""
    return [(issue["feature"], issue["state"], issue["used"]) for issue in row["feature_issues"]]


def rows_of(exchange: Exchange) -> list[dict[str, Any]]:
    """The rows of a 200, each with its model, if they are those asked for, in that order; else none."""
    rows = [{"model": exchange.body["model"], **row} for row in exchange.body.get("predictions", [exchange.body])]
    return rows if [row.get("customer_id") for row in rows] == list(exchange.asked) else []


def refused_as(*codes: str) -> Designed:
    """An error of one of these codes, in the designed form; where it is worth trying again, it says when."""

    def designed(exchange: Exchange) -> bool:
        error = exchange.body.get("error", {}) if isinstance(exchange.body, dict) else {}
        retry = exchange.headers.get("retry-after", "").isdigit()
        return (
            error.get("code") in codes
            and error.get("request_id") == exchange.request_id
            and (retry or exchange.status not in (429, 503))
        )

    return designed


UNAVAILABLE = refused_as("online_store_unavailable", "deadline_exceeded")


def either(*designs: Designed) -> Designed:
    return lambda exchange: any(design(exchange) for design in designs)


def verdict(exchange: Exchange, truth: Truth, designed: Designed) -> Verdict:
    """`right`: the answer as without the fault. `designed`: what the failure table names for it. Else `wrong`."""
    if exchange.status == 200 and exchange.body.get("request_id") == exchange.request_id:
        rows = rows_of(exchange)
        if rows and all(truth.agrees(row) for row in rows):
            return "right"
    return "designed" if designed(exchange) else "wrong"


def outcome(exchange: Exchange, was: Verdict) -> str:
    """What came, in a word or two."""
    if exchange.status is None:
        return exchange.failure
    if exchange.status != 200:
        return f"{exchange.status} {exchange.code}"
    if was == "right":
        return "200"
    from_cache = any(row["cached_seconds"] is not None for row in rows_of(exchange))
    return "200 from the cache" if from_cache else "200 with rows missing"


@dataclass(frozen=True)
class Measurement:
    """One fault's row of the table.

    baseline, longest: seconds, of the exchanges that ended before the fault and since.
    lost: how many seconds of the longest exchange were lost to the machine.
    recovery: seconds from the fault's end to the end of the last answer that was not yet right.
    """

    fault: str
    requests: int
    wrong: int
    baseline: float
    longest: float
    lost: float
    recovery: float
    outcomes: Mapping[str, int]


def measure(
    fault: str, load: Load, truth: Truth, designed: Designed, began: float, ended: float
) -> tuple[Measurement, list[Exchange]]:
    """Hold a finished load against the promises.

    Args:
        began, ended: of the fault, monotonic seconds.

    Returns:
        The measurement, and the exchanges that were wrong.
    """
    designed = either(designed, lambda exchange: _starved(exchange, load))
    verdicts = [(exchange, verdict(exchange, truth, designed)) for exchange in load.exchanges]
    before = [exchange for exchange in load.exchanges if exchange.ended < began]
    since = [exchange for exchange in load.exchanges if exchange.ended >= began]
    longest = max(since, key=lambda exchange: _own_seconds(exchange, load))
    not_yet_right = [exchange.ended for exchange, was in verdicts if was != "right" and exchange.ended > ended]
    measurement = Measurement(
        fault=fault,
        requests=len(load.exchanges),
        wrong=sum(was == "wrong" for _, was in verdicts),
        baseline=max(exchange.ended - exchange.started for exchange in before),
        longest=longest.ended - longest.started,
        lost=load.lost(longest),
        recovery=max(not_yet_right, default=ended) - ended,
        outcomes=dict(Counter(outcome(e, was) for e, was in verdicts if e.ended >= began).most_common()),
    )
    return measurement, [exchange for exchange, was in verdicts if was == "wrong"]


def _own_seconds(exchange: Exchange, load: Load) -> float:
    return exchange.ended - exchange.started - load.lost(exchange)


def _starved(exchange: Exchange, load: Load) -> bool:
    """True of a look-up that took the deadline only because this machine did not run the service or Redis meanwhile."""
    return refused_as("deadline_exceeded")(exchange) and _own_seconds(exchange, load) < DEADLINE_SECONDS
