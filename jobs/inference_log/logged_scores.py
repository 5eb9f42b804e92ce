"""Loads the scores of the inference log into DuckDB tables, each score once, of any number of rows."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from artefacts.log_rows import FIXED_COLUMNS, keys_of, outputs_of_log
from contract import ModelContract, Population
from contract.tasks import TaskKind
from jobs.errors import ArgumentError, JobError
from jobs.inference_log.reading import LogReading, Opener, refuse_other_contract
from jobs.offline_store.latest_rows import connect
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model

_TASKS: Mapping[pa.DataType, TaskKind] = {pa.bool_(): "binary", pa.string(): "multiclass", pa.float64(): "regression"}
"""Type of the last output → task."""

_OF_EVERY_LOG = ("request_id", "row", "as_of", "model_tag", "model_version", "role", "answered")


@dataclass(frozen=True)
class Populations:
    """The groups of rows that are judged beside all rows; by default those of each model's contract.

    name: only this one.
    feature, at_most: its rule, instead of the contract's; without `name`, that of the headline's population.
    """

    name: str | None = None
    feature: str | None = None
    at_most: float | None = None

    def of(self, contract: ModelContract) -> dict[str, Population]:
        """The populations of a model by name."""
        if self.feature is None and self.at_most is None:
            return {name: rule for name, rule in contract.populations.items() if self.name in (None, name)}
        name = self.name or contract.headline.population
        promised = contract.populations.get(name)
        given = {"feature": self.feature, "at_most": self.at_most}
        rule = (promised.model_dump() if promised else {}) | {what: of for what, of in given.items() if of is not None}
        return {name: Population(**rule)} if "feature" in rule and len(rule) > 1 else {}


def population_column(name: str) -> str:
    """The column of the table `scores` that tells which rows belong to a population."""
    return f"population_{name}"


@dataclass
class LoggedScores:
    """The tables of one reading.

    connection: the table `scores` has a row for each row of a request and each model (`model_tag`, `role`) that scored
        it. If a client repeated a request id, the first row counts. The table `reused` has the rows (`request_id`,
        `row`) whose request id was used for different keys; `scores` has none of them. Columns of `scores`:
        - `request_id`, `row`, `as_of`, `model_tag`, `model_version`, `role`, `answered`, as they are logged
        - `key`: the entity key or its pseudonym, as text; of several join keys a list of them, VARCHAR[]
        - `score`: the first output, the probability or value (DOUBLE) or the probabilities (DOUBLE[]); null if the row
          was not scored
        - `answer`: the last output, the decision (BOOLEAN), the class (VARCHAR) or the value (DOUBLE)
        - `population_<name>` (BOOLEAN) for each of `populations`; null where the model lacks the feature, does not
          have the population, or did not know the value
    task: of the models, as the columns of their outputs tell; binary for a log without rows.
    keys: the log's columns of the join keys, of their types, or text where rows have pseudonyms; none for a log
        without rows.
    populations: names of the populations of any model, without `all`.
    contracts: model tag → contract, without models that cannot be opened.
    problems: one line for each model that cannot be opened, or whose rows have other outputs than those before.
    """

    connection: duckdb.DuckDBPyConnection
    task: TaskKind = "binary"
    keys: list[pa.Field] = field(default_factory=list)
    populations: list[str] = field(default_factory=list)
    contracts: dict[str, ModelContract] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def rules(self, populations: Populations) -> dict[str, list[str]]:
        """Population → its rules in words; more than one if the models differ."""
        found: dict[str, set[str]] = {}
        for contract in self.contracts.values():
            for name, members in populations.of(contract).items():
                found.setdefault(name, set()).add(_in_words(members))
        return {name: sorted(rules) for name, rules in found.items()}

    def members(self) -> str:
        """The columns of all populations for a SELECT, each with a comma after it; not known is false."""
        columns = (_quoted(population_column(name)) for name in self.populations)
        return " ".join(f"coalesce({column}, false) AS {column}," for column in columns)

    def count(self, query: str, *parameters: object) -> int:
        """The number that a query returns."""
        found = self.connection.execute(query, list(parameters)).fetchone()
        return int(found[0]) if found else 0

    def arrays(self, query: str, *parameters: object) -> dict[str, NDArray[Any]]:
        """The columns of a query, (n,) each, or (n, c) for lists of c numbers; the query must return no nulls."""
        table = self.connection.execute(query, list(parameters)).to_arrow_table()
        return {name: _array(table[name].combine_chunks()) for name in table.column_names}


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _array(column: pa.Array) -> NDArray[Any]:
    if not pa.types.is_list(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), -1)


@contextmanager
def open_scores(
    reading: LogReading, populations: Populations | None = None, opened: Opener = open_model
) -> Iterator[LoggedScores]:
    """Read the log into tables, which spill to disk if they outgrow the memory of a job.

    Args:
        populations: the populations to tell; None tells none and opens no model.
        opened: a model by its tag.

    Raises:
        ArgumentError: no model of the log has the population that `populations` names.
        JobError: DuckDB failed here or in the block; the message quotes it.
    """
    with tempfile.TemporaryDirectory(prefix="scores-") as scratch, connect() as connection:
        connection.execute(f"SET temp_directory = '{scratch}'")
        scores = LoggedScores(connection)
        try:
            _load(scores, reading, populations, opened)
            if populations and populations.name and scores.contracts and populations.name not in scores.populations:
                raise ArgumentError(_no_such_population(populations.name, scores.contracts.values()))
            yield scores
        except duckdb.Error as error:
            raise JobError(f"DuckDB: {str(error).splitlines()[0]}") from None


def _load(scores: LoggedScores, reading: LogReading, populations: Populations | None, opened: Opener) -> None:
    connection = scores.connection
    columns: list[pa.Field] | None = None
    refused = set[str]()
    opened = cache(opened)
    for tag, table in reading.chunks():
        keys = keys_of(table.schema)
        own = [*(pa.field(key.name, pa.string()) for key in keys), *outputs_of_log(table.schema)]
        if columns is None:
            columns, scores.keys, scores.task = own, keys, _TASKS[own[-1].type]
            _make_table(connection, len(keys), outputs_of_log(table.schema))
        if own != columns:
            refused.add(tag)
            problem = f"rows of model {tag} have {_named(own)}, the rows before them {_named(columns)}"
            scores.problems += [problem] if problem not in scores.problems else []
            continue
        scores.keys = [
            one if one == other else one.with_type(pa.string()) for one, other in zip(scores.keys, keys, strict=True)
        ]
        members = dict[str, pa.Array]()
        if populations and tag not in refused:
            try:
                model = opened(tag)
                members = _members(table, model, populations)
                scores.contracts[tag] = model.contract
            except ModelError as error:
                refused.add(tag)
                scores.contracts.pop(tag, None)
                scores.problems.append(str(error))
        for name in members:
            if name not in scores.populations:
                connection.execute(f"ALTER TABLE logged ADD COLUMN {_quoted(population_column(name))} BOOLEAN")
                scores.populations.append(name)
        chunk = {
            **{name: table[name] for name in _OF_EVERY_LOG},
            "key": _keys(table, keys),
            "score": table[outputs_of_log(table.schema)[0].name],
            "answer": table[own[-1].name],
            **{population_column(name): rows for name, rows in members.items()},
        }
        connection.register("chunk", pa.table(chunk))
        connection.execute("INSERT INTO logged BY NAME FROM chunk")
        connection.unregister("chunk")
    if columns is None:
        _make_table(connection, 1, [pa.field("score", pa.float64()), pa.field("answer", pa.bool_())])
    connection.execute(
        "CREATE TABLE reused AS SELECT request_id, row FROM logged GROUP BY request_id, row HAVING min(key) <> max(key)"
    )
    connection.execute(
        "CREATE TABLE scores AS SELECT * FROM logged ANTI JOIN reused USING (request_id, row) "
        "QUALIFY row_number() OVER (PARTITION BY request_id, row, model_tag, role ORDER BY as_of) = 1"
    )
    connection.execute("DROP TABLE logged")


def _keys(table: pa.Table, keys: Sequence[pa.Field]) -> pa.Array:
    """The column `key` of the rows of a log."""
    columns = [table[key.name].combine_chunks().cast(pa.string()) for key in keys]
    if len(columns) == 1:
        return columns[0]
    flat = pa.array(np.column_stack([column.to_numpy(zero_copy_only=False) for column in columns]).ravel(), pa.string())
    ends = np.arange(len(table) + 1, dtype=np.int32) * np.int32(len(columns))
    return pa.ListArray.from_arrays(pa.array(ends), flat)


def _make_table(connection: duckdb.DuckDBPyConnection, keys: int, outputs: Sequence[pa.Field]) -> None:
    """Make the empty table `logged` for rows with these outputs."""
    empty = pa.schema(
        [
            *(FIXED_COLUMNS.field(name) for name in _OF_EVERY_LOG),
            pa.field("key", pa.string() if keys == 1 else pa.list_(pa.string())),
            pa.field("score", outputs[0].type),
            pa.field("answer", outputs[-1].type),
        ]
    ).empty_table()
    connection.register("empty", empty)
    connection.execute("CREATE TABLE logged AS FROM empty")
    connection.unregister("empty")


def _named(columns: Sequence[pa.Field]) -> str:
    return ", ".join(f"{column.name} ({column.type})" for column in columns)


def _members(table: pa.Table, model: ImportedModel, populations: Populations) -> dict[str, pa.Array]:
    """Population → its rows, bool (n,), null where it is not known.

    Raises:
        ModelError: the rows are not of this model.
    """
    refuse_other_contract(table, model)
    return {name: _within(table, model, members) for name, members in populations.of(model.contract).items()}


def _within(table: pa.Table, model: ImportedModel, members: Population) -> pa.Array:
    contract = model.contract
    if members.feature not in contract.feature_names:
        return pa.nulls(table.num_rows, pa.bool_())
    column = contract.feature_names.index(members.feature)
    try:
        values = pc.list_element(table["inputs"], column)
        defaulted = pc.list_element(table["defaulted"], column)
    except pa.ArrowInvalid:
        raise ModelError(f"rows of model {model.tag} do not have its {len(contract.inputs)} inputs") from None
    within = pc.is_valid(values)
    if members.at_least is not None:
        within = pc.and_(within, pc.greater_equal(values, members.at_least))
    if members.at_most is not None:
        within = pc.and_(within, pc.less_equal(values, members.at_most))
    return pc.if_else(defaulted, pa.scalar(None, pa.bool_()), within).combine_chunks()


def _no_such_population(name: str, contracts: Iterable[ModelContract]) -> str:
    known = sorted({each for contract in contracts for each in contract.populations})
    return (
        f"--population {name}: no model of the log has it; there are {', '.join(known) or 'none'}, or give it a rule "
        "by --population-feature and --population-at-most"
    )


def _in_words(members: Population) -> str:
    low = "" if members.at_least is None else f"{members.at_least:g} ≤ "
    high = "" if members.at_most is None else f" ≤ {members.at_most:g}"
    return f"{low}{members.feature}{high}"


def entity_numbers(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number entities from 0 without gaps, by the hashes of their keys; (n,)."""
    numbers: NDArray[np.int64] = np.unique(hashes, return_inverse=True)[1].astype(np.int64)
    return numbers
