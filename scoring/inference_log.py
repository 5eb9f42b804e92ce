"""Makes rows of the inference log from what a model answered, and reads them. Columns: `artefacts/log_rows.py`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artefacts.log_rows import (
    COMPLETE_SUFFIX,
    FIXED_COLUMNS,
    OPEN_SUFFIX,
    REQUEST_INPUTS,
    STATES,
    TIMESTAMP,
    flushed,
    inference_log_schema,
    log_schema_of,
)
from artefacts.output_columns import key_fields, output_columns
from contract import Key, ModelContract, ResolvedFeatures, key_values
from contract.values.request_values import asked_of
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import Outcomes, statuses_of


@dataclass(frozen=True)
class Answers:
    """n rows of one or several requests that one model scored together.

    rows: each row's position in its request, from 0.
    keys: each row's entity key.
    as_of_unix_us: int64 (n,), or one value for all.
    answered: bool (n,), this model gave the answer.
    cached_seconds: float64 (n,); None if no row comes from a cache.
    given: request input → n values that the requests gave; may be more than the model takes.
    """

    request_ids: Sequence[str]
    rows: Sequence[int]
    keys: Sequence[Key]
    as_of_unix_us: int | NDArray[np.int64]
    model: ImportedModel
    answered: NDArray[np.bool_]
    resolved: ResolvedFeatures
    outcomes: Outcomes
    cached_seconds: NDArray[np.float64] | None = None
    given: Mapping[str, Sequence[Any]] | None = None

    def __len__(self) -> int:
        return len(self.keys)


def together(batches: Sequence[Answers]) -> Answers:
    """Concatenate several batches of one model: many small arrays cost far more than one large."""

    def whole(batch: Answers, values: object) -> NDArray[Any]:
        return np.broadcast_to(np.asarray(values), len(batch))

    if len(batches) == 1:
        return batches[0]
    made = [batch.outcomes for batch in batches]
    cached = [np.nan if batch.cached_seconds is None else batch.cached_seconds for batch in batches]
    return Answers(
        request_ids=list(chain.from_iterable(batch.request_ids for batch in batches)),
        rows=list(chain.from_iterable(batch.rows for batch in batches)),
        keys=list(chain.from_iterable(batch.keys for batch in batches)),
        as_of_unix_us=np.concatenate([whole(batch, batch.as_of_unix_us) for batch in batches], dtype=np.int64),
        model=batches[0].model,
        answered=np.concatenate([batch.answered for batch in batches]),
        resolved=ResolvedFeatures.joined([batch.resolved for batch in batches]),
        outcomes=Outcomes(
            tuple(np.concatenate(parts) for parts in zip(*(m.outputs for m in made), strict=True)),
            np.concatenate([m.statuses for m in made]),
        ),
        cached_seconds=np.concatenate([whole(b, c) for b, c in zip(batches, cached, strict=True)], dtype=np.float64)
        if any(batch.cached_seconds is not None for batch in batches)
        else None,
        given=batches[0].given
        and {
            name: list(chain.from_iterable((batch.given or {})[name] for batch in batches)) for name in batches[0].given
        },
    )


def log_table(answers: Answers) -> pa.Table:
    """The rows as a table of their contract's log; Arrow takes the arrays without a Python object per value."""
    n = len(answers)
    made, resolved, model = answers.outcomes, answers.resolved, answers.model
    contract = model.contract
    as_of = np.broadcast_to(np.asarray(answers.as_of_unix_us, dtype=np.int64), n)
    known = resolved.known
    ages = resolved.ages[known]
    ageless = np.isnan(ages)
    event_us = as_of[known, None] - np.round(np.where(ageless, 0, ages) * 1e6).astype(np.int64)
    event_timestamps = pa.array(event_us.ravel(), mask=ageless.ravel()).cast(TIMESTAMP)
    ends = np.cumsum(known, dtype=np.int32) * np.int32(resolved.matrix.shape[1])
    offsets, without = pa.array(np.concatenate([np.zeros(1, dtype=np.int32), ends])), pa.array(~known)

    def per_input(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, values, mask=without)

    columns = {
        "request_id": pa.array(answers.request_ids, pa.string()),
        "row": pa.array(answers.rows, pa.int32()),
        **_key_columns(answers.keys, contract),
        "as_of": pa.array(as_of, pa.int64()).cast(TIMESTAMP),
        "model_name": pa.repeat(contract.model_name, n),
        "model_version": pa.repeat(contract.model_version, n),
        "model_tag": pa.repeat(model.tag, n),
        "contract_sha256": pa.repeat(model.contract_sha256, n),
        "role": pa.repeat(model.role, n),
        "answered": pa.array(answers.answered),
        "status": pa.array(statuses_of(contract)).take(pa.array(made.statuses)),
        **output_columns(contract, made.outputs, made.scored),
        "inputs": per_input(pa.array(resolved.matrix[known].ravel(), from_pandas=True)),
        "event_timestamps": per_input(event_timestamps),
        "states": per_input(STATES.take(pa.array(resolved.states[known].ravel()))),
        "defaulted": per_input(pa.array(resolved.defaulted[known].ravel())),
        "cached_seconds": pa.nulls(n, pa.float64())
        if answers.cached_seconds is None
        else pa.array(answers.cached_seconds, from_pandas=True),
    }
    if asked := [given.name for given in asked_of(contract.feature_schema.request_inputs)]:
        columns[REQUEST_INPUTS] = pa.array(_request_values(answers.given or {}, asked), pa.string())
    return pa.table(columns, schema=inference_log_schema(contract))


def _key_columns(keys: Sequence[Key], contract: ModelContract) -> dict[str, pa.Array]:
    fields = key_fields(contract)
    if len(fields) == 1:
        return {fields[0].name: pa.array(keys, fields[0].type)}
    columns = zip(*map(key_values, keys), strict=True)
    return {field.name: pa.array(values, field.type) for field, values in zip(fields, columns, strict=True)}


def _request_values(given: Mapping[str, Sequence[Any]], asked: Sequence[str]) -> list[str]:
    """What each request gave, as canonical JSON text: members sorted, no spaces, times in RFC 3339."""
    rows = zip(*(given[name] for name in asked), strict=True)
    return [
        json.dumps(
            dict(zip(asked, values, strict=True)),
            sort_keys=True,
            ensure_ascii=False,
            separators=(",", ":"),
            default=lambda time: time.isoformat().replace("+00:00", "Z"),
        )
        for values in rows
    ]


def read_log(file: Path, only: pc.Expression | None = None) -> pa.Table:
    """Read a file's rows, with the keys and outputs that it has; of an open file, the flushed ones.

    An open file of which nothing was flushed has the columns of every log, and no rows.

    Args:
        only: filter on the rows.

    Raises:
        ModelError: the file is damaged or not an inference log.
    """
    try:
        if file.suffix == OPEN_SUFFIX:
            try:
                batches = list(flushed(file))
            except FileNotFoundError:  # it became Parquet meanwhile
                return read_log(file.with_suffix(COMPLETE_SUFFIX), only)
            table = pa.Table.from_batches(batches) if batches else FIXED_COLUMNS.empty_table()
            return table if only is None else table.filter(only)
        table = pq.read_table(file, filters=only, partitioning=None)
        try:
            schema = log_schema_of(table.schema)
        except ValueError as error:
            raise ModelError(f"{file}: {error}; it is not an inference log") from None
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, OSError) as error:
        raise ModelError(f"{file}: cannot be read as inference log: {str(error).splitlines()[0]}") from None
