"""What became of the entities that were asked for, as the use case tells it."""

from collections.abc import Callable, Mapping

import pandas as pd
import pyarrow as pa

from jobs.errors import JobError
from jobs.inference_log.logged_scores import LoggedScores
from jobs.inference_log.reading import Opener
from jobs.quality.label_values import LABEL_VALUES
from jobs.use_case import use_case
from scoring.errors import ModelError

Outcomes = Callable[[pd.DataFrame, Mapping[str, str], int], pd.DataFrame]
"""(rows of join keys and `event_timestamp`, environment, days of a label) → the same rows with `label`, null where it
is not yet known. Raises `artefacts.errors.SourceError` if the use case's source cannot be used.
"""


def outcomes_of_use_case() -> Outcomes:
    """The use case's own; importing it takes a second.

    Raises:
        JobError: there is no use case, or it does not tell outcomes.
    """
    case = use_case()
    if case.outcomes is None:
        raise JobError(
            f"the use case {case.name} has no `outcomes`, so nobody here knows what came of its predictions; labels "
            "from elsewhere can be judged: make live-quality LABELS=<file>"
        )
    return case.outcomes


def register_outcomes(scores: LoggedScores, told: pd.DataFrame) -> None:
    """Make the view `labelled` of what the use case told: the key, `event_timestamp`, and `label` as text.

    Raises:
        JobError: a column is missing, or a label does not fit the log's task.
    """
    connection, kind = scores.connection, LABEL_VALUES[scores.task]
    for name in (scores.keys[0].name, "event_timestamp", "label"):
        if name not in told:
            raise JobError(f"the use case's outcomes have no column {name!r}; they have {', '.join(map(str, told))}")
    columns = told[[scores.keys[0].name, "event_timestamp", "label"]].set_axis(
        ["key", "event_timestamp", "told"], axis=1
    )
    try:
        table = pa.Table.from_pandas(columns, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise JobError("the use case's outcomes have labels of several types; expected " + kind.expected) from None
    connection.register("told", table)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE labelled AS "
        "SELECT key::VARCHAR AS key, event_timestamp, told::VARCHAR AS label FROM told"
    )
    connection.unregister("told")
    wrong = connection.execute(
        f"SELECT event_timestamp, label FROM labelled WHERE label IS NOT NULL AND {kind.wrong} LIMIT 1"  # noqa: S608
    ).fetchone()
    if wrong:
        raise JobError(
            f"the use case's outcomes have the label {wrong[1]!r} at {wrong[0].isoformat()}; a {scores.task} model "
            f"needs {kind.expected}"
        )


def refuse_unknown_classes(scores: LoggedScores, opened: Opener) -> None:
    """Raise JobError if the table `due` has a label that is no class of the model that answered."""
    if scores.task != "multiclass":
        return
    tags = scores.connection.execute("SELECT DISTINCT model_tag FROM due ORDER BY 1").fetchall()
    for (tag,) in tags:
        try:
            classes = list(getattr(opened(tag).contract.task, "classes", ()))
        except ModelError:
            continue
        found = scores.connection.execute(
            "SELECT label FROM due WHERE model_tag = ? AND NOT list_contains(?, label) LIMIT 1", [tag, classes]
        ).fetchone()
        if found:
            raise JobError(
                f"the use case's outcomes have the label {found[0]!r}, which is no class of model {tag}; it has "
                f"{', '.join(classes)}"
            )
