"""Labels logged answers with what came of them.

An answer gets its label once the days that its model predicts are over. The model's contract says how many they are,
the use case what came of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from artefacts.addresses import Artefacts
from artefacts.process.atomic_files import replaced_file
from jobs.errors import ArgumentError, JobError
from jobs.inference_log.logged_scores import LoggedScores, open_scores
from jobs.inference_log.reading import LogReading, Opener, explain_nothing_found
from jobs.offline_store.latest_rows import quoted
from jobs.offline_store.stored_keys import stored_keys
from jobs.quality.label_values import LABEL_VALUES
from jobs.quality.outcomes import Outcomes, outcomes_of_use_case, refuse_unknown_classes, register_outcomes
from jobs.times import format_range
from scoring.errors import ModelError
from scoring.models.model_store import open_model, pinned_tag
from scoring.pseudonyms import FORM, Pseudonyms

_ROWS_AT_ONCE = 1_000_000


class NothingDueError(JobError):
    """No answered row in the time range is old enough for a label."""

    exit_code = 4


@dataclass(frozen=True)
class LabelRequest:
    """The labels to make.

    out: the Parquet file to write, with request_id, row, the key as it is logged, as_of, label and label_days.
    days: a label tells of [as_of, as_of + days). None takes the days from the contract of the model that answered or,
        if that model is not in the store, of the pinned model.
    since, until: answers of [since, until), UTC; None is an open end.
    id_key_file: the key with which the log's ids were made pseudonyms.

    Raises:
        ArgumentError: a value is out of range.
    """

    out: Path
    days: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    id_key_file: Path | None = None

    def __post_init__(self) -> None:
        if self.days is not None and not 1 <= self.days <= 3650:
            raise ArgumentError(f"--days {self.days}: expected 1 to 3,650 days")


@dataclass(frozen=True)
class LabelSummary:
    """Number of rows that got a label, and of rows that did not, by reason.

    positive: labels that are true; None if the task is not binary.
    days: lengths of the labels in days; more than one if the log holds models that predict different lengths.
    not_due: what came of them is not yet known.
    ambiguous: the request id was used for different keys.
    newest: time of the newest answer with a label, UTC.
    """

    labels: int
    positive: int | None
    days: tuple[int, ...]
    not_due: int
    ambiguous: int
    newest: datetime

    def __str__(self) -> str:
        positive = "" if self.positive is None else f", {self.positive:,} positive"
        ambiguous = f"; {self.ambiguous:,} rows of request ids used for several keys have none"
        return (
            f"{self.labels:,} labels of answers until {self.newest.isoformat()}, over "
            f"{' or '.join(map(str, self.days))} days{positive}; "
            f"{self.not_due:,} later answers are not yet due{ambiguous if self.ambiguous else ''}"
        )


def make_labels(
    artefacts: Artefacts,
    environ: Mapping[str, str],
    request: LabelRequest,
    opened: Opener = open_model,
    outcomes: Outcomes | None = None,
) -> LabelSummary:
    """Label every answered row that is due, and write the labels in one step.

    Labels are of the log's task: boolean, names of classes, or numbers.

    Args:
        environ: tells the use case where its source is.
        opened: a model by its tag.
        outcomes: what came of them; None is the use case's own.

    Raises:
        NothingDueError: no row is due, and nothing was written.
        SourceError: the use case's source cannot be used, and nothing was written.
        JobError: the key cannot be used, there are no outcomes, or one does not fit the task, and nothing was
            written; or the labels are written and files of the log could not be read.
    """
    reading = LogReading(artefacts.inference_log, request.since, request.until)
    with open_scores(reading) as scores:
        if len(scores.keys) > 1:
            names = ", ".join(key.name for key in scores.keys)
            raise JobError(
                f"labels are made of answers to one key; these have {names}: label them yourself, "
                "make live-quality LABELS=<file>"
            )
        lengths = label_lengths(artefacts, _answered_by(scores), request.days, opened)
        days = tuple(sorted(set(lengths.values())))
        _ask(scores, lengths)
        outcomes = outcomes or outcomes_of_use_case()
        refusal, key_type = _find_keys(scores, artefacts.offline_store, request.id_key_file)
        if refusal and pa.types.is_integer(key_type):
            raise JobError(refusal)
        for length in days:
            _label(scores, length, environ, outcomes, key_type)
        if days:
            refuse_unknown_classes(scores, opened)
        due = scores.count("SELECT count(*) FROM due") if days else 0
        not_due = scores.count("SELECT count(*) FROM (SELECT DISTINCT request_id, row FROM scores)") - due
        damaged = "; ".join(reading.damaged)
        if not due:
            if damaged:
                raise JobError(f"no label could be made: {damaged}")
            if not not_due:
                nothing = f"no answered row {format_range(request.since, request.until)}"
                raise NothingDueError(explain_nothing_found(artefacts.inference_log, nothing))
            raise NothingDueError(f"{artefacts.inference_log}: {_not_yet(scores, not_due, days)}")
        if refusal and scores.count("SELECT count(*) FROM due WHERE regexp_full_match(key, ?)", FORM):
            raise JobError(refusal)
        _write(scores, request.out)
        made = LabelSummary(
            labels=due,
            positive=_positive(scores),
            days=days,
            not_due=not_due,
            ambiguous=scores.count("SELECT count(*) FROM reused"),
            newest=_one(scores, "SELECT max(as_of) FROM due"),
        )
    if damaged:
        raise JobError(f"not every file of the log could be read, the other labels are in {request.out}: {damaged}")
    return made


def label_lengths(
    artefacts: Artefacts, tags: Sequence[str], days: int | None, opened: Opener = open_model
) -> dict[str, int]:
    """Model tag → length of its labels in days.

    Args:
        days: the requested length; None if none was requested.
        opened: a model by its tag.

    Raises:
        JobError: the requested length is not the contract's; or none was requested and no contract has one.
    """
    promised = {tag: _promised(tag, opened) for tag in tags}
    other = next((tag for tag, found in promised.items() if days is not None and found not in (None, days)), None)
    if other is not None:
        raise JobError(
            f"model {other} has labels over {promised[other]} days, and --days is {days}: leave it out, "
            "and each answer is labelled as its model has it"
        )
    if None in promised.values() and days is None:
        days = _promised(pinned_tag(artefacts), opened)
        if days is None:
            unknown = next(tag for tag, found in promised.items() if found is None)
            raise JobError(
                f"how many days the labels of model {unknown} have is not known: neither it nor a model that is pinned "
                "here is in the store and says so; --days says it (DAYS=90 with make)"
            )
    return {tag: found or days or 0 for tag, found in promised.items()}


def _promised(tag: str, opened: Opener) -> int | None:
    try:
        return opened(tag).contract.label_days
    except ModelError:
        return None


def _answered_by(scores: LoggedScores) -> list[str]:
    found = scores.connection.execute("SELECT DISTINCT model_tag FROM scores ORDER BY 1").fetchall()
    return [tag for (tag,) in found]


def _ask(scores: LoggedScores, lengths: Mapping[str, int]) -> None:
    """Make the table `asked`: a row for each row of a request, and the days of its label."""
    connection = scores.connection
    connection.execute("CREATE TABLE lengths (model_tag VARCHAR, days INTEGER)")
    for length in lengths.items():
        connection.execute("INSERT INTO lengths VALUES (?, ?)", list(length))
    connection.execute(
        "CREATE TABLE asked AS SELECT request_id, row, key, min(as_of) AS as_of, "
        "arg_max(days, role) AS days, arg_max(model_tag, role) AS model_tag "  # the champion's
        "FROM scores JOIN lengths USING (model_tag) "
        "GROUP BY request_id, row, key"
    )


def _find_keys(scores: LoggedScores, offline_store: Path, id_key_file: Path | None) -> tuple[str | None, pa.DataType]:
    """Make the table `names`: logged key → key, as text. A pseudonym that cannot be resolved stands for itself.

    Returns:
        Why no pseudonym could be resolved; None if there is none, or some were. And the keys' own type.
    """
    key_type = scores.keys[0].type if scores.keys else pa.string()
    connection = scores.connection
    connection.execute("CREATE TABLE names AS SELECT DISTINCT key AS logged_as, key FROM asked")
    hidden = scores.count("SELECT count(*) FROM names WHERE regexp_full_match(logged_as, ?)", FORM)
    if not hidden:
        return None, key_type
    if id_key_file is None:
        return "the log's ids are pseudonyms; name the file of their key: --id-key-file", key_type
    pseudonyms, found = Pseudonyms.from_file(id_key_file), 0
    for keys in stored_keys(connection, offline_store, scores.keys[0].name):
        key_type = keys.type
        made = pa.table({"logged_as": pseudonyms.of(keys.to_pylist()), "key": keys.cast(pa.string())})
        connection.register("made", made)
        changed = connection.execute("UPDATE names SET key = made.key FROM made WHERE names.logged_as = made.logged_as")
        found += changed.fetchall()[0][0]
        connection.unregister("made")
    if found:
        return None, key_type
    refusal = f"{id_key_file}: no id of the offline store has one of the log's {hidden:,} pseudonyms under this key"
    return refusal, key_type


def _label(
    scores: LoggedScores, days: int, environ: Mapping[str, str], outcomes: Outcomes, key_type: pa.DataType
) -> None:
    """Add the rows that have a label to the table `due`."""
    connection, value = scores.connection, LABEL_VALUES[scores.task].value
    for entities in _entities(scores, days, key_type):
        register_outcomes(scores, outcomes(entities, environ, days))
        known = (
            f"SELECT request_id, row, asked.key, as_of, {value} AS label, days, model_tag FROM asked "  # noqa: S608
            "JOIN names ON asked.key = logged_as "
            "JOIN labelled ON names.key = labelled.key AND as_of = event_timestamp "
            "WHERE days = ? AND label IS NOT NULL"
        )
        connection.execute(f"CREATE TABLE IF NOT EXISTS due AS {known} LIMIT 0", [days])
        connection.execute(f"INSERT INTO due {known}", [days])


def _entities(scores: LoggedScores, days: int, key_type: pa.DataType) -> Iterator[pd.DataFrame]:
    """Keys, of their own type, and moments that are asked for with labels of this length."""
    numbers = pa.types.is_integer(key_type)
    unresolved = f" AND NOT regexp_full_match(names.key, '{FORM}')" if numbers else ""
    query = (
        "SELECT DISTINCT names.key, as_of AS event_timestamp "  # noqa: S608  # a constant
        f"FROM asked JOIN names ON asked.key = logged_as WHERE days = ?{unresolved}"
    )
    with scores.connection.cursor() as cursor:
        reader = cursor.execute(query, [days]).to_arrow_reader(_ROWS_AT_ONCE)
        for batch in reader:
            found = batch.set_column(0, scores.keys[0].name, batch["key"].cast(key_type) if numbers else batch["key"])
            yield found.to_pandas()


def _not_yet(scores: LoggedScores, answers: int, days: Sequence[int]) -> str:
    first, ends = (_one(scores, f"SELECT min({when}) FROM asked") for when in ("as_of", "as_of + to_hours(24 * days)"))  # noqa: S608
    return (
        f"answers found: {answers:,}, the first of {first.isoformat()}; none is due for a label: a label takes "
        f"{' or '.join(map(str, days))} days after the answer, and what happened is not known until {ends.isoformat()}"
    )


def _one(scores: LoggedScores, query: str) -> datetime:
    found: datetime = scores.connection.execute(query).fetchall()[0][0]
    return found


def _positive(scores: LoggedScores) -> int | None:
    return scores.count("SELECT count(*) FROM due WHERE label") if scores.task == "binary" else None


def _write(scores: LoggedScores, out: Path) -> None:
    name, of_type = scores.keys[0].name, "BIGINT" if pa.types.is_integer(scores.keys[0].type) else "VARCHAR"
    columns = f"request_id, row, key::{of_type} AS {quoted(name)}, as_of, label, days AS label_days"
    try:
        with replaced_file(out) as partial:
            rows = scores.connection.sql(f"SELECT {columns} FROM due ORDER BY as_of, request_id, row")  # noqa: S608
            rows.write_parquet(str(partial))
    except (OSError, duckdb.IOException) as error:
        raise JobError(f"{out}: the labels cannot be written: {str(error).splitlines()[0]}") from None
