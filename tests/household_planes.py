"""One model, the same keys at the same time, in every plane: `python -m tests.household_planes` prints what differs.

For any use case and any keys. Values of the model's input: the point-in-time join of training, both online readers, and
the batch. Rows: `POST /predict_batch`, `POST /invocations`, the batch, and with `--spark` the batch on Spark. A process
of its own, so that it can be run under several PYTHONHASHSEEDs; it materializes into a Redis of its own. One plane is
also a day off on purpose: a check that cannot fail proves nothing.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
from contract import Key, ResolvedFeatures, Resolver
from contract.keys import key_of
from contract.values.request_values import asked_of
from contract.values.vocabulary import MISSING_CODE, MISSING_TEXT
from jobs.batch.score_batch import BatchRequest, score_batch
from jobs.batch.score_batch_spark import score_batch_on_spark
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model, pinned_tag
from tests.loop import call
from tests.parity import read_join, read_online
from tests.planes import JOBS, serving

AT_ONCE = 500
TOLERANCE = 1e-6
Matrix = NDArray[np.float32]
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Asked:
    """Rows to score: their keys and what their requests give, in the file's order."""

    table: pa.Table
    file: Path
    keys: Sequence[Key]
    given: Mapping[str, Sequence[Any]] | None

    @classmethod
    def read(cls, file: Path, model: ImportedModel) -> "Asked":
        schema = model.contract.feature_schema
        table = pq.read_table(file)
        columns = [table[key.join_key].to_pylist() for key in schema.entity_keys]
        given = {each.name: table[each.name].to_pylist() for each in asked_of(schema.request_inputs)}
        return cls(table, file, [key_of(values) for values in zip(*columns, strict=True)], given or None)


@dataclass(frozen=True)
class Planes:
    """The planes of one model at one time."""

    artefacts: Artefacts
    model: ImportedModel
    asked: Asked
    at: datetime
    folder: Path

    def join(self, at: datetime) -> Matrix:
        """What training would see at that time."""
        contract = self.model.contract
        raw = read_join(self.artefacts, contract, self.asked.table.to_pandas(), at)
        return Resolver.of(contract).resolve(raw, at.timestamp()).matrix

    def read(self, *, compiled: bool) -> ResolvedFeatures:
        """What the service sees, through one of its readers."""
        contract, asked = self.model.contract, self.asked
        raw, _ = read_online(self.artefacts, contract, asked.keys, self.at, asked.given, compiled=compiled)
        assert raw.unread_rows is None
        return Resolver.of(contract).resolve(raw, self.at.timestamp())

    def batch(self) -> tuple[Matrix, pa.Table]:
        """What the batch scored, in the order of its own rows, and its rows."""
        seen: list[Matrix] = []

        def score(matrix: Matrix) -> Any:
            seen.append(matrix.copy())
            return self.model.score(matrix)

        request = BatchRequest(self.at, self.folder / "batch", self.asked.file)
        done = score_batch(self.artefacts, replace(self.model, score=score), request, now=self.at)
        return np.concatenate(seen), _table(done.partition)

    def spark(self) -> pa.Table:
        """The batch's rows by Spark."""
        request = BatchRequest(self.at, self.folder / "spark", self.asked.file)
        return _table(score_batch_on_spark(self.artefacts, self.model, request, JOBS, self.at).partition)

    def over_http(self, matrix: Matrix) -> tuple[list[dict[str, Any]], list[Any]]:
        """Answers of `POST /predict_batch` for the keys, and of `POST /invocations` for `matrix`."""
        inputs = self.model.contract.inputs
        columns = [given.codes.texts(c) if given.codes else c for given, c in zip(inputs, matrix.T, strict=True)]
        kept = [given.on_missing == "keep" and given.codes is not None for given in inputs]
        cells = [
            [
                None if (keep and cell == MISSING_TEXT) or cell != cell else _plain(cell)
                for keep, cell in zip(kept, row, strict=True)
            ]
            for row in zip(*columns, strict=True)
        ]
        names = [given.name for given in inputs]
        predicted: list[dict[str, Any]] = []
        invoked: list[Any] = []
        with serving(self.artefacts, self.model, self.at) as url:
            for start in range(0, len(cells), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                answer = call(url, "POST", "/predict_batch", {"rows": self._requests()[part]})
                assert answer.status == 200, answer.body
                predicted += answer.body["predictions"]
                frame = {"dataframe_split": {"columns": names, "data": cells[part]}}
                answer = call(url, "POST", "/invocations", frame)
                assert answer.status == 200, answer.body
                invoked += answer.body["predictions"]
        return predicted, invoked

    def _requests(self) -> list[dict[str, Any]]:
        given = self.asked.given or {}
        rows = self.asked.table.to_pylist()
        keys = [{name: value for name, value in row.items() if name not in given} for row in rows]
        if not given:
            return keys
        return [{**key, "inputs": {name: row[name] for name in given}} for key, row in zip(keys, rows, strict=True)]


def compare(planes: Planes, *, spark: bool) -> dict[str, Any]:
    """Hold every plane against the join and against the compiled reader's rows."""
    model, names = planes.model, [key.join_key for key in planes.model.contract.feature_schema.entity_keys]
    compiled = planes.read(compiled=True)
    batch, batch_rows = planes.batch()
    order = planes.asked.table.append_column("place", pa.array(np.arange(len(planes.asked.keys))))
    places = order.sort_by([(name, "ascending") for name in names])["place"].to_numpy()
    matrices = {
        "join": planes.join(planes.at),
        "a day off": planes.join(planes.at - timedelta(days=1)),
        "sdk": planes.read(compiled=False).matrix,
        "compiled": compiled.matrix,
        "batch": batch[np.argsort(places)],
    }
    predicted, invoked = planes.over_http(compiled.matrix)
    rows = {"batch": _rows(batch_rows.to_pylist(), planes)}
    if spark:
        rows["spark"] = _rows(planes.spark().to_pylist(), planes)
    http = _rows(predicted, planes)
    scores = np.asarray(model.score(compiled.matrix), dtype=np.float64)
    if model.contract.task.kind == "binary":
        scores = np.column_stack([1 - scores, scores])  # MLflow's protocol answers both
    assert scores.shape == np.shape(invoked)
    return {
        "rows": len(planes.asked.keys),
        "values": int(compiled.matrix.size),
        "runtime": model.runtime,
        "statuses": pd.Series([row["status"] for row in predicted]).value_counts().to_dict(),
        "nulls": int(np.isnan(compiled.matrix).sum() + (compiled.matrix == MISSING_CODE).sum()),
        "features": {
            plane: [
                model.contract.feature_names[i]
                for i in np.flatnonzero(_differing(matrices["compiled"], found).any(axis=0))
            ]
            for plane, found in matrices.items()
        },
        "differing": {
            plane: [list(map(str, key)) for key in http if key not in found or not _same(http[key], found[key])][:5]
            for plane, found in rows.items()
        },
        "rows of planes": {plane: len(found) for plane, found in {"http": http, **rows}.items()},
        "invoked": float(np.max(np.abs(invoked - scores))),
    }


def _table(folder: Path) -> pa.Table:
    return ds.dataset(folder, exclude_invalid_files=True).to_table()


def _plain(cell: Any) -> Any:
    return cell if isinstance(cell, str) else float(cell)


def _differing(one: Matrix, other: Matrix) -> NDArray[np.bool_]:
    differs: NDArray[np.bool_] = (one != other) & ~(np.isnan(one) & np.isnan(other))
    return differs


def _rows(found: list[dict[str, Any]], planes: Planes) -> dict[tuple[str, ...], dict[str, Any]]:
    """By key as text, since answers write large numbers as text."""
    names = [key.join_key for key in planes.model.contract.feature_schema.entity_keys]
    outputs = [output.name for output in planes.model.contract.outputs]
    rows = {
        tuple(str(row[name]) for name in names): {
            **{name: _value(row[name]) for name in (*outputs, "status")},
            "feature_issues": [
                (issue["feature"], issue["state"], _rounded(issue["age_seconds"]), issue["used"])
                for issue in row["feature_issues"]
            ],
        }
        for row in found
    }
    assert len(rows) == len(found), "a key is there twice"
    return rows


def _value(found: Any) -> Any:
    return list(found.values()) if isinstance(found, dict) else found  # files hold probabilities as lists, by class


def _rounded(age: float | None) -> float | None:
    return None if age is None else round(age, 3)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE * max(1.0, abs(one))
    return bool(one == other)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--asked", type=Path, required=True, help="Parquet: a column per join key and request value")
    parser.add_argument("--at", required=True)
    parser.add_argument("--spark", action="store_true")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True)
    at = datetime.fromisoformat(chosen.at).astimezone(UTC)
    url = embedded_redis.start(root=chosen.folder)
    try:
        artefacts = Artefacts.of({**os.environ, "REDIS_URL": url})
        materialize(artefacts, until=at)
        model = open_model(pinned_tag(artefacts))
        planes = Planes(artefacts, model, Asked.read(chosen.asked, model), at, chosen.folder)
        print(json.dumps(compare(planes, spark=chosen.spark)))
    finally:
        embedded_redis.stop(root=chosen.folder)


if __name__ == "__main__":
    main()
