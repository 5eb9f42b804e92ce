"""Loads the scores of the inference log into DuckDB tables, each score once, of any number of rows."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contract import ModelContract, Population
from jobs.errors import JobError
from jobs.inference_log.reading import LogReading, Opener, refuse_other_contract
from jobs.offline_store.latest_rows import connect
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model

_ACTIVE_BEFORE = Population(feature="customer_recency__days_since_last_order", at_most=180)


_COLUMNS = (
    *("request_id", "row", "customer_id", "as_of", "model_tag", "model_version", "role", "answered"),
    *("churn_probability", "churn"),
)


@dataclass(frozen=True)
class Active:
    """Customers are active if their `feature` is at most `days`. None takes the value of the model's contract.

    Older contracts do not define it. For them a customer is active up to 180 days after the last order.
    """

    feature: str | None = None
    days: float | None = None

    def of(self, contract: ModelContract) -> Population:
        """The active population of a model."""
        promised = contract.populations.get("active") or _ACTIVE_BEFORE
        return Population(
            feature=promised.feature if self.feature is None else self.feature,
            at_most=promised.at_most if self.days is None else self.days,
        )


@dataclass
class LoggedScores:
    """The tables of one reading.

    connection: the table `scores` has a row for each row of a request and each model (`model_tag`, `role`) that scored
        it, with the columns of `_COLUMNS` and `active`, null where the model lacks the feature or it was unknown. If a
        client repeated a request id, the first row counts. The table `reused` has the rows (`request_id`, `row`) whose
        request id was used for different customers; `scores` has none of them.
    contracts: model tag → contract, without models that cannot be opened.
    problems: one line for each model that cannot be opened.
    """

    connection: duckdb.DuckDBPyConnection
    contracts: dict[str, ModelContract] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def active(self, active: Active) -> list[str]:
        """The rules by which customers are active, in words; more than one if the models differ."""
        found = (active.of(contract) for contract in self.contracts.values())
        return sorted({f"{members.feature} ≤ {members.at_most:g}" for members in found})

    def count(self, query: str, *parameters: object) -> int:
        """The number that a query returns."""
        found = self.connection.execute(query, list(parameters)).fetchone()
        return int(found[0]) if found else 0

    def arrays(self, query: str, *parameters: object) -> dict[str, NDArray[Any]]:
        """The columns of a query, (n,) each; the query must return no nulls."""
        table = self.connection.execute(query, list(parameters)).to_arrow_table()
        return {name: table[name].to_numpy() for name in table.column_names}


@contextmanager
def open_scores(
    reading: LogReading, active: Active | None = None, opened: Opener = open_model
) -> Iterator[LoggedScores]:
    """Read the log into tables, which spill to disk if they outgrow the memory of a job.

    Args:
        active: the rule for active customers; None leaves `active` null and opens no model.
        opened: a model by its tag.

    Raises:
        JobError: DuckDB failed here or in the block; the message quotes it.
    """
    with tempfile.TemporaryDirectory(prefix="scores-") as scratch, connect() as connection:
        connection.execute(f"SET temp_directory = '{scratch}'")
        scores = LoggedScores(connection)
        try:
            _load(scores, reading, active, opened)
            yield scores
        except duckdb.Error as error:
            raise JobError(f"DuckDB: {str(error).splitlines()[0]}") from None


def _load(scores: LoggedScores, reading: LogReading, active: Active | None, opened: Opener) -> None:
    connection = scores.connection
    connection.execute(
        "CREATE TABLE logged (request_id VARCHAR, row INTEGER, customer_id VARCHAR, as_of TIMESTAMPTZ, "
        "model_tag VARCHAR, model_version VARCHAR, role VARCHAR, answered BOOLEAN, churn_probability DOUBLE, "
        "churn BOOLEAN, active BOOLEAN)"
    )
    refused = set[str]()
    opened = cache(opened)
    for tag, table in reading.chunks():
        recent = pa.nulls(table.num_rows, pa.bool_())
        if active and tag not in refused:
            try:
                model = opened(tag)
                recent = _active(table, model, active)
                scores.contracts[tag] = model.contract
            except ModelError as error:
                refused.add(tag)
                scores.contracts.pop(tag, None)
                scores.problems.append(str(error))
        connection.register("chunk", table.select(_COLUMNS).append_column("active", recent))
        connection.execute("INSERT INTO logged FROM chunk")
        connection.unregister("chunk")
    connection.execute(
        "CREATE TABLE reused AS SELECT request_id, row FROM logged GROUP BY request_id, row "
        "HAVING min(customer_id) <> max(customer_id)"
    )
    connection.execute(
        "CREATE TABLE scores AS SELECT * FROM logged ANTI JOIN reused USING (request_id, row) "
        "QUALIFY row_number() OVER (PARTITION BY request_id, row, model_tag, role ORDER BY as_of) = 1"
    )
    connection.execute("DROP TABLE logged")


def _active(table: pa.Table, model: ImportedModel, active: Active) -> pa.Array:
    """Bool (n,), null where it is not known. Raises ModelError if the rows are not of this model."""
    refuse_other_contract(table, model)
    contract, members = model.contract, active.of(model.contract)
    if members.feature not in contract.feature_names:
        return pa.nulls(table.num_rows, pa.bool_())
    column = contract.feature_names.index(members.feature)
    try:
        days = pc.list_element(table["inputs"], column)
        defaulted = pc.list_element(table["defaulted"], column)
    except pa.ArrowInvalid:
        raise ModelError(f"rows of model {model.tag} do not have its {len(contract.inputs)} inputs") from None
    return pc.if_else(defaulted, pa.scalar(None, pa.bool_()), pc.less_equal(days, members.at_most)).combine_chunks()


def customer_numbers(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number customers from 0 without gaps, by the hashes of their ids; (n,)."""
    numbers: NDArray[np.int64] = np.unique(hashes, return_inverse=True)[1].astype(np.int64)
    return numbers
