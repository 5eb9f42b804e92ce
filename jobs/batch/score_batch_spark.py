"""Scores a batch on Spark: the same plan, `resolve` and outcomes as on one machine, over partitions of keys.

The executors get the imported model's file, and verify it before they load it. MLflow's `spark_udf` would load what the
registry holds now, and run the code that it names.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from artefacts.addresses import PROJECT_ROOT, Artefacts
from artefacts.output_columns import key_fields
from artefacts.prediction_rows import prediction_schema
from artefacts.process.atomic_files import replaced_folder
from contract import ModelContract, Resolver
from jobs.batch.key_list import KeyList, without_values
from jobs.batch.prediction_rows import feature_issues, predictions
from jobs.batch.score_batch import BatchRequest, BatchResult, OpenedBatch, nothing_to_score, open_batch, writing_to
from jobs.offline_store.latest_rows import ViewSource
from jobs.offline_store.offline_features import FeaturePlan, StoredRows
from jobs.offline_store.stored_values import python_values
from jobs.offline_store.view_files import parts
from jobs.settings import JobsSettings
from jobs.spark import spark_path, spark_session
from jobs.times import unix_us
from scoring.models.imported_model import ImportedModel, PackedScorer
from scoring.outcomes import outcomes, statuses_of
from scoring.task_outputs import task_outputs

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame, SparkSession

Batches = Iterator[pa.RecordBatch]

_EVENT_TIME = "event_timestamp"
_OVERRIDE = "override__"
_GIVEN = "request__"


def score_batch_on_spark(
    artefacts: Artefacts, model: ImportedModel, request: BatchRequest, settings: JobsSettings, now: "datetime"
) -> BatchResult:
    """As `score_batch`, with Spark's partitions as chunks.

    Raises:
        JobError, ContractError: as `score_batch`; or Spark cannot be used.
        ModelError: the model's file has changed since its import.
    """
    batch = open_batch(artefacts, model, request, now)
    done = BatchResult(batch.partition, dict.fromkeys(statuses_of(batch.model.contract), 0))
    started = time.monotonic()
    options = {"spark.executorEnv.PYTHONPATH": str(PROJECT_ROOT)}
    with (
        writing_to(request.out),
        replaced_folder(batch.partition) as folder,
        spark_session(settings, "score-batch", options) as session,
    ):
        scored = _scored(session, batch, request.as_of)
        # Spark creates the folder itself, and leaves its own files in it.
        scored.write.parquet(str(folder / "spark"))
        for file in sorted((folder / "spark").glob("part-*.parquet")):
            file.rename(folder / file.name)
        counted = session.read.parquet(f"{spark_path(folder)}/*.parquet").groupBy("status").count().collect()
        done.statuses.update({row["status"]: row["count"] for row in counted})
        for left in (folder / "spark").iterdir():
            left.unlink()
        (folder / "spark").rmdir()
        if not done.rows:
            raise nothing_to_score(request, model)
        done.seconds["Spark"] = time.monotonic() - started
    return done


def _scored(session: "SparkSession", batch: OpenedBatch, as_of: "datetime") -> "DataFrame":
    from pyspark.sql.pandas.types import from_arrow_schema

    overridden = list(batch.listed.overrides) if batch.listed else []
    listed = list(batch.listed.given) if batch.listed else []
    scoring = _scoring(batch.plan, batch.model.contract, batch.model.packed(), overridden, listed, as_of)
    schema = from_arrow_schema(prediction_schema(batch.model.contract))
    return _features(session, batch, as_of).mapInArrow(scoring, schema)


def _features(session: "SparkSession", batch: OpenedBatch, as_of: "datetime") -> "DataFrame":
    """Join the latest rows of all views and the overrides: one row per key."""
    plan = batch.plan
    views = {name: _latest(session, batch.sources[name], fields, as_of) for name, fields in plan.views.items()}
    if batch.listed is not None:
        rows = _listed(session, batch.listed)
    else:
        whole = [views.pop(name) for name in plan.whole_keys]
        rows = reduce(lambda left, right: left.join(right, list(plan.join_keys), "full_outer"), whole)
    for name, view in views.items():
        rows = rows.join(view, list(batch.sources[name].join_keys), "left")
    return rows


def _latest(session: "SparkSession", source: ViewSource, fields: Sequence[str], as_of: "datetime") -> "DataFrame":
    """`latest_rows` by Spark; columns are named view__field."""
    from pyspark.sql import Window
    from pyspark.sql.functions import col, lit, row_number

    created = [col(source.created_timestamp_field).desc_nulls_last()] if source.created_timestamp_field else []
    newest_first = Window.partitionBy(*source.join_keys).orderBy(
        col(source.timestamp_field).desc(), *created, *(col(field) for field in source.columns)
    )
    folder, pattern = parts(source.path)
    rows = session.read.parquet(f"{spark_path(folder)}/{pattern}")
    return (
        rows.where(col(source.timestamp_field) <= lit(as_of))
        .dropna(subset=list(source.join_keys))
        .withColumn("__newest", row_number().over(newest_first))
        .where(col("__newest") == 1)
        .select(
            *map(col, source.join_keys),
            col(source.timestamp_field).alias(_column(source.name, _EVENT_TIME)),
            *(col(field).alias(_column(source.name, field)) for field in fields),
        )
    )


def _column(view: str, field: str) -> str:
    return f"{view}__{field}"


def _listed(session: "SparkSession", listed: KeyList) -> "DataFrame":
    columns = {name: listed.keys[name] for name in listed.keys.column_names}
    columns |= {f"{_GIVEN}{name}": pa.array(values) for name, values in listed.given.items()}
    columns |= {f"{_OVERRIDE}{n}": pa.array(values, from_pandas=True) for n, values in listed.overrides.items()}
    return session.createDataFrame(pa.table(columns))


def _scoring(
    plan: FeaturePlan,
    contract: ModelContract,
    packed: PackedScorer,
    overridden: Sequence[int],
    listed: Sequence[str],
    as_of: "datetime",
) -> Callable[[Batches], Batches]:
    """The executors' function: joined rows in, rows of `prediction_schema` out.

    Args:
        overridden: inputs of the model that the list of keys overrides.
        listed: request inputs whose values the list of keys gives; the others have their default.
    """
    as_of_us = unix_us(as_of)
    key_schema = pa.schema(key_fields(contract))
    everywhere = {} if listed else without_values(contract)

    def score(batches: Batches) -> Batches:
        resolver, scorer = Resolver.of(contract), packed.open()
        for joined in batches:
            keys = pa.table({name: joined[name] for name in plan.join_keys}, schema=key_schema)
            rows = {
                view: StoredRows(
                    joined[_column(view, _EVENT_TIME)],
                    {field: joined[_column(view, field)] for field in fields},
                )
                for view, fields in plan.views.items()
            }
            given = {name: python_values(joined[f"{_GIVEN}{name}"]) for name in listed}
            given |= {name: [value] * len(keys) for name, value in everywhere.items()}
            raw = plan.assemble(keys, rows, as_of_us, given)
            overrides = {n: _floats(joined[f"{_OVERRIDE}{n}"]) for n in overridden}
            resolved = resolver.resolve(raw, as_of_us / 1e6, overrides)
            made = outcomes(resolved, scorer(resolved.matrix), task_outputs(contract))
            yield from predictions(keys, made, feature_issues(resolved), contract, as_of).to_batches()

    return score


def _floats(column: Any) -> Any:
    return column.to_numpy(zero_copy_only=False)  # null is NaN
