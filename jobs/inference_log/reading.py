"""Reads rows of the inference log for jobs: of a time range, by model, in chunks of bounded size."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from artefacts.log_rows import FIXED_COLUMNS, REQUEST_INPUTS, STATES, TIMESTAMP, log_files
from artefacts.output_columns import key_fields, read_outputs
from contract import ContractError, FeatureState, ModelContract, OverrideError
from contract.values.request_values import asked_of, checked_inputs
from scoring.errors import ModelError
from scoring.inference_log import read_log
from scoring.models.imported_model import ImportedModel
from scoring.task_outputs import Outputs

Opener = Callable[[str], ImportedModel]
"""Opens a model by its tag."""

ROWS_PER_CHUNK = 20_000
_SEED = 20_240_601
"""Seed of the sample: the same log gives the same rows."""


@dataclass(frozen=True)
class LoggedRows:
    """n rows that one model answered, with k inputs.

    table: as logged.
    keys: a column per join key, as in the offline store.
    as_of_us: int64 (n,).
    known: bool (n,), the key was known online. Other rows have no inputs: NaN or False in the arrays below.
    inputs, states, defaulted, event_us: (n, k). An input is NaN for a kept null of a number.
    scored: bool (n,), the row has outputs.
    outputs: as in `scoring.task_outputs.Outputs`; NaN, false or −1 where the row was not scored.
    """

    table: pa.Table
    keys: pa.Table
    as_of_us: NDArray[np.int64]
    known: NDArray[np.bool_]
    inputs: NDArray[np.float32]
    states: NDArray[np.uint8]
    defaulted: NDArray[np.bool_]
    event_us: NDArray[np.float64]
    cached: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    outputs: Outputs

    @classmethod
    def of(cls, table: pa.Table, keys: pa.Table, contract: ModelContract) -> "LoggedRows":
        """Unpack rows of the log.

        Raises:
            ModelError: a row does not have the contract's inputs, or the rows do not have its outputs.
        """
        outputs = logged_outputs(table, contract)
        width = len(contract.inputs)
        lists = table["inputs"].combine_chunks()
        known = lists.is_valid().to_numpy(zero_copy_only=False)
        for column in ("inputs", "event_timestamps", "states", "defaulted"):
            lengths = pc.unique(pc.list_value_length(table[column].combine_chunks().filter(pa.array(known))))
            if lengths.to_pylist() not in ([], [width]):
                request = table["request_id"][0].as_py()
                raise ModelError(f"{column} of rows from request {request} on are not the model's {width}")

        def cells(values: pa.Array, empty: object) -> NDArray[np.generic]:
            found = np.full((len(known), width), empty)
            found[known] = values.to_numpy(zero_copy_only=False).reshape(-1, width)
            return found

        event_us = table["event_timestamps"].combine_chunks().flatten().cast(pa.int64()).cast(pa.float64())
        states = pc.index_in(table["states"].combine_chunks().flatten(), value_set=STATES)
        return cls(
            table=table,
            keys=keys,
            as_of_us=table["as_of"].combine_chunks().cast(pa.int64()).to_numpy(),
            known=known,
            inputs=cells(lists.flatten(), np.nan).astype(np.float32),
            states=cells(states, FeatureState.MISSING.value).astype(np.uint8),
            defaulted=cells(table["defaulted"].combine_chunks().flatten(), False).astype(bool),
            event_us=cells(event_us, np.nan).astype(np.float64),
            cached=table["cached_seconds"].combine_chunks().is_valid().to_numpy(zero_copy_only=False),
            scored=table[contract.outputs[0].name].combine_chunks().is_valid().to_numpy(zero_copy_only=False),
            outputs=outputs,
        )

    def __len__(self) -> int:
        return len(self.as_of_us)

    def take(self, rows: NDArray[np.intp]) -> "LoggedRows":
        """Some of the rows."""
        return LoggedRows(
            table=self.table.take(pa.array(rows)),
            keys=self.keys.take(pa.array(rows)),
            as_of_us=self.as_of_us[rows],
            known=self.known[rows],
            inputs=self.inputs[rows],
            states=self.states[rows],
            defaulted=self.defaulted[rows],
            event_us=self.event_us[rows],
            cached=self.cached[rows],
            scored=self.scored[rows],
            outputs=tuple(output[rows] for output in self.outputs),
        )


def explain_nothing_found(folder: Path, what: str) -> str:
    """Return a message that nothing was found; if there is no log at all, one that says so instead of `what`."""
    if any(folder.glob("date=*")):
        return f"{folder}: {what}"
    return f"{folder}: no inference log is there; a service with SERVICE_INFERENCE_LOG=true writes one"


def refuse_other_contract(table: pa.Table, model: ImportedModel) -> None:
    """Check that rows of the log were scored under the contract of the model that is stored under their tag.

    Raises:
        ModelError: they were scored under another contract.
    """
    if not pc.all(pc.equal(table["contract_sha256"], model.contract_sha256)).as_py():
        raise ModelError(f"model {model.tag} has another contract than the rows were logged with")


def logged_keys(table: pa.Table, contract: ModelContract) -> pa.Table:
    """The keys of n rows, as they are logged: a column per join key, of its type, or text if it is a pseudonym.

    Raises:
        ModelError: the rows have another key than the contract.
    """
    columns = {}
    for key in key_fields(contract):
        if key.name not in table.column_names:
            raise ModelError(
                f"the rows have no column {key.name!r}, the contract's join key; {_columns_between(table)}"
            )
        columns[key.name] = table[key.name].combine_chunks()
    return pa.table(columns)


def given_values(table: pa.Table, contract: ModelContract) -> dict[str, list[Any]]:
    """The values that the requests of n rows gave for on-demand views: request input → n values.

    Raises:
        ModelError: the rows do not have the values that the contract asks for; the message names none of them.
    """
    asked = asked_of(contract.feature_schema.request_inputs)
    if not asked:
        return {}
    if REQUEST_INPUTS not in table.column_names:
        raise ModelError(f"the rows have no column {REQUEST_INPUTS!r}, and the contract takes values of requests")
    try:
        rows = [checked_inputs(json.loads(text or "{}"), asked) for text in table[REQUEST_INPUTS].to_pylist()]
    except (ValueError, OverrideError) as error:
        what = f"{error.field} {error}" if isinstance(error, OverrideError) else "they are no JSON"
        raise ModelError(f"the requests' values are not what the contract asks for: {what}") from None
    return {request_input.name: [row[request_input.name] for row in rows] for request_input in asked}


def logged_outputs(table: pa.Table, contract: ModelContract) -> Outputs:
    """The outputs of n rows; NaN, false or −1 where a row was not scored.

    Raises:
        ModelError: the rows have other outputs than the contract; the message names both.
    """
    try:
        return read_outputs(table, contract)
    except ContractError as error:
        raise ModelError(f"the rows were answered by another contract: {error}; {_columns_between(table)}") from None


def _columns_between(table: pa.Table) -> str:
    own = [name for name in table.column_names if name not in (*FIXED_COLUMNS.names, REQUEST_INPUTS)]
    return f"their keys and outputs are {', '.join(own)}"


@dataclass
class LogReading:
    """Rows of [since, until) in a folder.

    sample: at most this many rows, drawn at random over all files; None takes every row.
    unanswered: include rows of models that did not give the answer, such as a shadow.
    files: number of readable files. This and the next two are known once all files have been read.
    damaged: one line for each file that cannot be read.
    empty: complete files without a row, and open files of which nothing was flushed.
    """

    folder: Path
    since: datetime | None = None
    until: datetime | None = None
    sample: int | None = None
    unanswered: bool = False
    files: int = 0
    damaged: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def chunks(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield model tags and rows of the log. At most one file and a chunk of each model are in memory.

        The rows of a chunk have the same columns. Those of a model may differ between chunks if the folder holds files
        of other contracts. The files are listed at the start. Rows that are written meanwhile may be included or not.
        """
        waiting: dict[tuple[str, pa.Schema], list[pa.Table]] = {}
        rows = Counter[tuple[str, pa.Schema]]()
        for table in self._sampled() if self.sample is not None else self._tables():
            for tag in pc.unique(table["model_tag"]).to_pylist():
                alike = tag, table.schema
                own = table.filter(pc.equal(table["model_tag"], tag))
                for start in range(0, own.num_rows, ROWS_PER_CHUNK):
                    part = own.slice(start, ROWS_PER_CHUNK)
                    if rows[alike] + part.num_rows > ROWS_PER_CHUNK:
                        yield tag, pa.concat_tables(waiting.pop(alike)).combine_chunks()
                        rows[alike] = 0
                    waiting.setdefault(alike, []).append(part)
                    rows[alike] += part.num_rows
        for (tag, _), tables in waiting.items():
            yield tag, pa.concat_tables(tables).combine_chunks()

    def texts_of(self, join_key: str) -> set[str]:
        """All texts that the rows have for a join key: text keys and pseudonyms."""
        found: set[str] = set()
        for table in self._tables():
            if join_key in table.column_names and pa.types.is_string(table[join_key].type):
                found.update(pc.unique(table[join_key]).to_pylist())
        return found

    def _sampled(self) -> Iterator[pa.Table]:
        total = sum(table.num_rows for table in self._tables())
        size = min(self.sample or 0, total)
        chosen = np.sort(np.random.default_rng(_SEED).choice(total, size, replace=False))
        first = 0
        for table in self._tables():
            within = chosen[np.searchsorted(chosen, first) : np.searchsorted(chosen, first + table.num_rows)] - first
            first += table.num_rows
            if len(within):
                yield table.take(pa.array(within))

    def _tables(self) -> Iterator[pa.Table]:
        files, damaged, empty = 0, list[str](), list[str]()
        for file in log_files(self.folder, self.since, self.until):
            try:
                table = read_log(file)
            except ModelError as error:
                damaged.append(str(error))
                continue
            files += 1
            if not table.num_rows:
                empty.append(str(file))
            table = table.filter(self._wanted(table))
            if table.num_rows:
                yield table
        # Set at the end, because a sampled reading goes through the files several times.
        self.files, self.damaged, self.empty = files, damaged, empty

    def _wanted(self, table: pa.Table) -> pa.ChunkedArray:
        wanted = pc.or_(table["answered"], pa.scalar(self.unanswered))
        if self.since is not None:
            wanted = pc.and_(wanted, pc.greater_equal(table["as_of"], pa.scalar(self.since, TIMESTAMP)))
        if self.until is not None:
            wanted = pc.and_(wanted, pc.less(table["as_of"], pa.scalar(self.until, TIMESTAMP)))
        return wanted
