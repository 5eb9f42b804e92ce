"""Publishes the inference log as Feast's log of served features, which `feast monitor` reads."""

import copy
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
from artefacts.log_rows import COMPLETE_SUFFIX, STATES, log_files
from contract import FeatureInput, FeatureState, ModelContract
from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.inference_log.reading import explain_nothing_found, given_values, logged_keys, refuse_other_contract
from jobs.times import format_range
from scoring.errors import ModelError
from scoring.inference_log import read_log
from scoring.models.model_store import open_model
from scoring.pseudonyms import are_pseudonyms

if TYPE_CHECKING:
    from feast import FeatureStore

# Feast's FieldStatus, serving/ServingService.proto.
_INVALID, _PRESENT, _NULL_VALUE, _NOT_FOUND, _OUTSIDE_MAX_AGE = range(5)


def publish_log(artefacts: Artefacts, since: datetime | None = None, until: datetime | None = None) -> str:
    """Publish each complete file of these days once, through Feast's own call.

    A published file has the name of its source file and appears in one step. Its existence marks the source file as
    published, so no row is published twice, even if the job is killed.

    Returns:
        A summary in one line.

    Raises:
        JobError: some files could not be published, or the registry names no place for them; the others were.
    """
    store = open_feature_store(artefacts)
    opened = cache(open_model)
    logged = log_files(artefacts.inference_log, since, until)
    if not logged:
        return explain_nothing_found(artefacts.inference_log, f"no file {format_range(since, until)}")
    files = [file for file in logged if file.suffix == COMPLETE_SUFFIX]
    published, rows, problems = set[Path](), 0, []
    for file in files:
        try:
            for served in _by_model(read_log(file, pc.field("answered") & pc.field("inputs").is_valid())):
                model = opened(served["model_tag"][0].as_py())
                refuse_other_contract(served, model)
                if _publish(store, model.contract, served, file.stem):
                    published.add(file)
                    rows += len(served)
        except (ModelError, pa.ArrowException) as error:
            problems.append(f"{file.name}: {error}")
    if problems:
        raise JobError(f"{len(problems)} of {len(files)} files were not published: {'; '.join(problems)}")
    still_open = len(logged) - len(files)
    later = f"; {still_open} are still open, for SERVICE_INFERENCE_LOG_FILE_SECONDS at most" if still_open else ""
    return f"{rows:,} rows published, of {len(published)} files; {len(files)} files of the log are complete{later}"


def _by_model(rows: pa.Table) -> Iterator[pa.Table]:
    for tag in pc.unique(rows["model_tag"]):
        yield rows.filter(pc.equal(rows["model_tag"], tag))


def _publish(store: "FeatureStore", contract: ModelContract, served: pa.Table, name: str) -> bool:
    """Publish rows of one model; False if they were published before."""
    from feast.errors import FeatureServiceNotFoundException
    from feast.feature_logging import FeatureServiceLoggingSource, LoggingConfig
    from feast.infra.offline_stores.file_source import FileLoggingDestination

    try:
        service = store.get_feature_service(contract.feature_service)
    except FeatureServiceNotFoundException:
        raise ModelError(f"feature service {contract.feature_service!r} is not registered any more") from None
    destination = service.logging_config and service.logging_config.destination
    if not isinstance(destination, FileLoggingDestination):
        raise JobError(f"feature service {service.name!r} is registered without a folder for its log; run `make apply`")
    folder = Path(destination.path)
    complete = folder / f"{name}-{contract.sha256[:12]}.parquet"
    if complete.exists():
        return False
    schema = FeatureServiceLoggingSource(service, store.project).get_schema(store.registry)
    staged = folder.with_name(f".{complete.name}.partial")  # beside the folder, of which Feast reads every file
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir(parents=True)
        elsewhere = copy.copy(service)
        elsewhere.logging_config = LoggingConfig(destination=FileLoggingDestination(path=str(staged)))
        store.write_logged_features(feast_rows(served, contract, schema), elsewhere)
        (written,) = staged.iterdir()
        folder.mkdir(exist_ok=True)
        written.rename(complete)
    except OSError as error:
        raise JobError(f"{complete}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return True


def feast_rows(served: pa.Table, contract: ModelContract, schema: pa.Schema) -> pa.Table:
    """Rows of the log in the form in which Feast logs served features.

    A value is null if the model did not see it from the store, because a default or an override stood in, or if it is
    a category that the model does not know. Values have the feature's type: texts of categories, and times to the
    precision of the float32 that their age has.

    A join key of numbers is null where the log has pseudonyms, which are text.

    Args:
        served: n rows of one model, all with inputs.
        schema: Feast's schema of the contract's feature service. Columns that the model does not read are null.
    """
    n, k = len(served), len(contract.inputs)
    values = _matrix(served["inputs"], n, k)
    defaulted = _matrix(served["defaulted"], n, k)
    states = _matrix(pc.index_in(pc.list_flatten(served["states"]), STATES), n, k)
    seen = ~defaulted & (states != FeatureState.OVERRIDDEN) & (states != FeatureState.MISSING)
    event_us = pc.list_flatten(served["event_timestamps"]).cast(pa.int64())
    has_row = _matrix(event_us.is_valid(), n, k)
    # Feast logs event times in whole seconds.
    seconds, in_seconds = _matrix(event_us.fill_null(0), n, k) // 1_000_000, pa.timestamp("s", tz="UTC")
    statuses = np.select(
        [
            (states == FeatureState.OVERRIDDEN) | (states == FeatureState.UNSEEN),
            states == FeatureState.STALE,
            (states == FeatureState.MISSING) & has_row,
            states == FeatureState.MISSING,
        ],
        [_INVALID, _OUTSIDE_MAX_AGE, _NULL_VALUE, _NOT_FOUND],
        _PRESENT,
    )
    as_of, keys = served["as_of"], logged_keys(served, contract)
    made: dict[str, pa.Array | pa.ChunkedArray] = {
        **{name: _key(keys[name], schema.field(name).type) for name in keys.column_names},
        "__log_timestamp": as_of,
        "__log_date": as_of.cast(pa.date32()),
        "__request_id": served["request_id"],
    }
    asked = given_values(served, contract)
    made |= {name: pa.array(given) for name, given in asked.items()}
    made |= {
        given.name: as_of.cast(pa.int64())
        for given in contract.feature_schema.request_inputs
        if given.filled_by == "request_time_unix_us"
    }
    as_of_seconds = as_of.combine_chunks().cast(pa.int64()).to_numpy() / 1e6
    for name, columns in _by_reference(contract).items():
        column = columns[0]
        made[name] = _stored(values, seen, contract.inputs, columns, as_of_seconds)
        made[f"{name}__timestamp"] = pa.array(seconds[:, column], mask=~has_row[:, column]).cast(in_seconds)
        made[f"{name}__status"] = pa.array(statuses[:, column])
    return pa.table(
        [made[field.name].cast(field.type) if field.name in made else pa.nulls(n, field.type) for field in schema],
        schema=schema,
    )


def _key(logged: pa.ChunkedArray, of_feast: pa.DataType) -> pa.ChunkedArray:
    """A join key of n rows; null where the log has the pseudonym of a number."""
    if pa.types.is_string(logged.type) and not pa.types.is_string(of_feast):
        return pc.if_else(are_pseudonyms(logged), pa.scalar(None, pa.string()), logged)
    return logged


def _by_reference(contract: ModelContract) -> dict[str, list[int]]:
    """Feature reference → columns of its inputs, several for an array."""
    found: dict[str, list[int]] = {}
    for column, given in enumerate(contract.inputs):
        found.setdefault(given.reference, []).append(column)
    return found


def _stored(
    values: NDArray[np.float32],
    seen: NDArray[np.bool_],
    inputs: Sequence[FeatureInput],
    columns: Sequence[int],
    as_of: NDArray[np.float64],
) -> pa.Array:
    """The values of one feature as the store has them, n of them."""
    first = columns[0]
    given, there = inputs[first], np.logical_and.reduce(seen[:, columns], axis=1)
    if given.element is not None:
        rows = values[:, sorted(columns, key=lambda column: inputs[column].element or 0)].astype(np.float64)
        return pa.array([row.tolist() if held else None for row, held in zip(rows, there.tolist(), strict=True)])
    if given.vocabulary is not None:
        known = there & (values[:, first] >= 0)
        codes = pa.array(np.where(known, values[:, first], 0).astype(np.int64), mask=~known)
        return pa.array(given.vocabulary).take(codes)
    if given.kind == "age":
        unix = np.round(as_of - values[:, first])
        return pa.array(np.where(there, unix, 0).astype(np.int64), mask=~there).cast(pa.timestamp("s", tz="UTC"))
    return pa.array(values[:, first].astype(np.float64), mask=~there)


def _matrix(cells: pa.ChunkedArray, rows: int, columns: int) -> NDArray[Any]:
    if pa.types.is_list(cells.type):
        cells = pc.list_flatten(cells)
    if len(cells) != rows * columns:
        raise ModelError(f"{len(cells)} values are logged for {rows} rows of {columns} inputs")
    return np.asarray(cells.to_numpy()).reshape(rows, columns)
