"""Batch scoring on Spark: the same plan, `resolve` and outcomes as on one machine, over partitions of customers.

The model is MLflow's own `spark_udf` of the registered version that was imported into the BentoML store.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from contract import ModelContract, Resolver
from contract.artefacts import PROJECT_ROOT, Artefacts
from jobs.customer_list import CustomerList
from jobs.errors import JobError
from jobs.latest_rows import ViewSource
from jobs.offline_features import FeaturePlan, StoredRows
from jobs.partitions import replaced
from jobs.predictions import ISSUE, PREDICTIONS, feature_issues, predictions
from jobs.score_batch import Batch, Order, Scored, nobody_has_features, open_batch
from jobs.settings import JobsSettings
from jobs.spark import spark_path, spark_session
from jobs.times import unix_us
from jobs.view_files import parts
from scoring.model import ImportedModel
from scoring.outcomes import decide

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame, SparkSession

Batches = Iterator[pa.RecordBatch]

_PROBABILITIES, _KNOWN, _FLAGGED, _REFUSED, _ISSUES = "probabilities", "known", "flagged", "refused", "feature_issues"
_EVENT_TIME = "event_timestamp"
_OVERRIDE = "override__"


def score_batch_on_spark(
    artefacts: Artefacts, model: ImportedModel, order: Order, settings: JobsSettings, now: "datetime"
) -> Scored:
    """As `score_batch`, with Spark's partitions for chunks.

    Raises:
        JobError, ContractError: as `score_batch`; or Spark or the model's registry cannot be used.
    """
    batch = open_batch(artefacts, model, order, now)
    _check_registry(artefacts, model.contract)
    done = Scored(batch.partition)
    started = time.monotonic()
    options = {"spark.executorEnv.PYTHONPATH": str(PROJECT_ROOT)}
    with replaced(batch.partition) as folder, spark_session(settings, "score-batch", options) as session:
        scored = _scored(session, batch, order.as_of)
        # Spark makes its folder itself, and leaves its own book-keeping in it.
        scored.write.parquet(str(folder / "spark"))
        for file in sorted((folder / "spark").glob("part-*.parquet")):
            file.rename(folder / file.name)
        counted = session.read.parquet(f"{spark_path(folder)}/*.parquet").groupBy("status").count().collect()
        done.statuses.update({row["status"]: row["count"] for row in counted})
        for left in (folder / "spark").iterdir():
            left.unlink()
        (folder / "spark").rmdir()
        if not done.rows:
            raise nobody_has_features(order)
        done.seconds["Spark"] = time.monotonic() - started
    return done


def _check_registry(artefacts: Artefacts, contract: ModelContract) -> None:
    """The registered version must be the one whose contract was imported."""
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(artefacts.mlflow_tracking_uri)
    what = f"model {contract.model_name!r} version {contract.model_version}"
    try:
        registered = mlflow.MlflowClient().get_model_version(contract.model_name, contract.model_version)
    except MlflowException as error:
        raise JobError(f"{what} is not in the MLflow registry: {str(error).splitlines()[0]}") from None
    if registered.run_id != contract.run_id:
        raise JobError(
            f"{what} in the MLflow registry is of run {registered.run_id}, the contract of {contract.run_id}"
        )


def _scored(session: "SparkSession", batch: Batch, as_of: "datetime") -> "DataFrame":
    import mlflow.pyfunc
    from pyspark.sql.functions import struct
    from pyspark.sql.pandas.types import from_arrow_schema

    contract = batch.model.contract
    resolved = _features(session, batch, as_of).mapInArrow(
        _resolving(batch.plan, contract, list(batch.listed.overrides) if batch.listed else [], as_of),
        from_arrow_schema(_resolved_schema(contract)),
    )
    # It warns that it makes no environment of the model's own; the executors' is the one that is locked.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.environment_variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)  # type: ignore[no-untyped-call]
    model_uri = f"models:/{contract.model_name}/{contract.model_version}"
    probabilities = mlflow.pyfunc.spark_udf(session, model_uri, result_type="array<double>", env_manager="local")
    return resolved.withColumn(_PROBABILITIES, probabilities(struct(*contract.feature_names))).mapInArrow(
        _deciding(contract, as_of), from_arrow_schema(PREDICTIONS)
    )


def _features(session: "SparkSession", batch: Batch, as_of: "datetime") -> "DataFrame":
    """One row per customer: the latest row of every view side by side, and the customer's overrides."""
    key = batch.plan.join_key
    views = [_latest(session, batch.sources[name], fields, as_of, key) for name, fields in batch.plan.views.items()]
    if batch.listed is None:
        return reduce(lambda left, right: left.join(right, key, "full_outer"), views)
    return reduce(lambda left, right: left.join(right, key, "left"), views, _listed(session, batch.listed, key))


def _latest(
    session: "SparkSession", source: ViewSource, fields: Sequence[str], as_of: "datetime", key: str
) -> "DataFrame":
    """As `latest_rows`, by Spark; columns are named view__field."""
    from pyspark.sql import Window
    from pyspark.sql.functions import col, lit, row_number

    created = [col(source.created_timestamp_field).desc_nulls_last()] if source.created_timestamp_field else []
    newest_first = Window.partitionBy(source.join_key).orderBy(
        col(source.timestamp_field).desc(), *created, *(col(field) for field in source.columns)
    )
    folder, pattern = parts(source.path)
    rows = session.read.parquet(f"{spark_path(folder)}/{pattern}")
    return (
        rows.where(col(source.join_key).isNotNull() & (col(source.timestamp_field) <= lit(as_of)))
        .withColumn("__newest", row_number().over(newest_first))
        .where(col("__newest") == 1)
        .select(
            col(source.join_key).alias(key),
            col(source.timestamp_field).alias(_column(source.name, _EVENT_TIME)),
            *(col(field).alias(_column(source.name, field)) for field in fields),
        )
    )


def _column(view: str, field: str) -> str:
    return f"{view}__{field}"


def _listed(session: "SparkSession", listed: CustomerList, key: str) -> "DataFrame":
    columns = {key: listed.customer_ids}
    columns |= {f"{_OVERRIDE}{n}": pa.array(values, from_pandas=True) for n, values in listed.overrides.items()}
    return session.createDataFrame(pa.table(columns))


def _resolved_schema(contract: ModelContract) -> pa.Schema:
    return pa.schema(
        [
            ("customer_id", pa.string()),
            *((name, pa.float32()) for name in contract.feature_names),
            *((name, pa.bool_()) for name in (_KNOWN, _FLAGGED, _REFUSED)),
            (_ISSUES, pa.list_(ISSUE)),
        ]
    )


def _resolving(
    plan: FeaturePlan, contract: ModelContract, overridden: Sequence[int], as_of: "datetime"
) -> Callable[[Batches], Batches]:
    """What an executor does before the model: joined rows in, vectors and what is to be said of them out."""
    as_of_us = unix_us(as_of)
    schema = _resolved_schema(contract)

    def resolve(batches: Batches) -> Batches:
        resolver = Resolver.of(contract)
        for joined in batches:
            customer_ids = joined[plan.join_key]
            rows = {
                view: StoredRows(
                    joined[_column(view, _EVENT_TIME)],
                    {field: joined[_column(view, field)] for field in fields},
                )
                for view, fields in plan.views.items()
            }
            raw = plan.assemble(customer_ids, rows, as_of_us)
            overrides = {n: _floats(joined[f"{_OVERRIDE}{n}"]) for n in overridden}
            resolved = resolver.resolve(raw, as_of_us / 1e6, overrides)
            yield pa.record_batch(
                [
                    customer_ids,
                    *(pa.array(resolved.matrix[:, column]) for column in range(len(contract.inputs))),
                    pa.array(resolved.known),
                    pa.array(np.any(resolved.states, axis=1)),
                    pa.array(resolved.refused),
                    feature_issues(resolved),
                ],
                schema=schema,
            )

    return resolve


def _floats(column: Any) -> Any:
    return column.to_numpy(zero_copy_only=False)  # null is NaN


def _deciding(contract: ModelContract, as_of: "datetime") -> Callable[[Batches], Batches]:
    """What an executor does after the model: probabilities in, rows of `PREDICTIONS` out."""
    positive_class = 1

    def made(batches: Batches) -> Batches:
        for scored in batches:
            both = scored[_PROBABILITIES].flatten().to_numpy(zero_copy_only=False).reshape(-1, 2)
            known, flagged, refused = (
                scored[name].to_numpy(zero_copy_only=False) for name in (_KNOWN, _FLAGGED, _REFUSED)
            )
            probabilities = both[:, positive_class].astype(np.float32)
            outcome = decide(probabilities, contract.threshold.value, known, flagged, refused)
            table = predictions(scored["customer_id"], outcome, scored[_ISSUES], contract, as_of)
            yield from table.to_batches()

    return made
