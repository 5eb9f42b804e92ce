"""Counts rows that the champion answered and the challenger did not score, by the reason."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.inference_log.logged_scores import LoggedScores

SILENCE = timedelta(minutes=5)
"""If a challenger scores nobody for longer, the log cannot tell whether it was off or failed."""


@dataclass(frozen=True)
class UnpairedRows:
    """Rows of the champion without a row of the challenger, between the first and the last row that both have.

    missed: the challenger was too slow, or failed.
    silent: the challenger scored nobody for longer than `SILENCE`: it was off, or failed for everybody.
    others: rows of entities outside a canary's share. An entity is inside if the canary answered it before and after.
    """

    missed: int
    silent: int
    others: int


def count_unpaired(
    scores: LoggedScores, champion: str, challenger: str, first: datetime, last: datetime
) -> UnpairedRows:
    """Count the champion's unpaired rows.

    The challenger's rows before and after a time tell what it was then: a canary answers what it scores, a shadow
    answers nothing. A shadow that became a canary has scored entities outside the canary's share, and a
    share may grow.

    Args:
        first, last: times of the first and the last row that both have.
    """
    found = scores.connection.execute(
        """
        WITH theirs AS (FROM scores WHERE role = 'challenger' AND model_tag = $challenger),
        moments AS (SELECT as_of AS at, bool_or(answered) AS canary FROM theirs GROUP BY as_of),
        answered AS (
            SELECT key, min(as_of) AS from_at, max(as_of) AS to_at
            FROM theirs WHERE answered GROUP BY key
        ),
        alone AS (
            SELECT key, as_of FROM scores ANTI JOIN theirs USING (request_id, row)
            WHERE role = 'champion' AND model_tag = $champion AND as_of BETWEEN $first AND $last
        ),
        judged AS (
            SELECT later.at - before.at > $silence AS silent,
                (before.canary OR later.canary)
                    AND NOT coalesce(alone.as_of BETWEEN from_at AND to_at, false) AS other
            FROM alone ASOF JOIN moments AS before ON alone.as_of >= before.at
            ASOF JOIN moments AS later ON alone.as_of <= later.at
            LEFT JOIN answered USING (key)
        )
        SELECT count(*) FILTER (NOT other AND NOT silent), count(*) FILTER (NOT other AND silent),
            count(*) FILTER (other) FROM judged
        """,
        {"challenger": challenger, "champion": champion, "first": first, "last": last, "silence": SILENCE},
    ).fetchone()
    return UnpairedRows(*(found or (0, 0, 0)))
