"""What a table's target is: its task, its classes, and which columns know it already."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from scoring.evaluation import Floats, Labels, TaskKind
from training.errors import DatasetError

MOST_CLASSES = 20
_TELLING = 0.98
"""A column that alone reaches this score is taken to know the outcome."""
_SAMPLED = 50_000
_LEAVES = 64


@dataclass(frozen=True)
class Outcome:
    """The target of a table.

    classes: of a binary task the negative one first.
    names: value in the table → name of its class, where the two differ.
    """

    target: str
    kind: TaskKind
    classes: tuple[str, ...] = ()
    names: Mapping[Any, str] = field(default_factory=dict)

    def codes(self, values: "pd.Series[Any]") -> Labels:
        """Labels of rows: numbers of a regression, else the place of the class."""
        if self.kind == "regression":
            numbers: Floats = values.to_numpy(np.float64)
            return numbers
        named = values.map(self.names) if self.names else values
        if values.dtype == bool:
            return values.to_numpy(dtype=bool)
        return pd.Categorical(named, categories=list(self.classes)).codes.astype(np.int64)


def outcome_of(target: str, values: "pd.Series[Any]", asked: TaskKind | None) -> Outcome:
    """What a target asks for.

    Args:
        values: without nulls.
        asked: the task, if the user says one.

    Raises:
        DatasetError: it has one value, or does not fit the task.
    """
    distinct = sorted(values.unique().tolist())
    if len(distinct) < 2:
        raise DatasetError(f"TARGET: {target!r} is {distinct[0]!r} in every row; there is nothing to learn")
    is_text = values.dtype == object
    is_number = pd.api.types.is_numeric_dtype(values) and values.dtype != bool
    if not (is_text or is_number or values.dtype == bool):
        raise DatasetError(f"TARGET: {target!r} is {values.dtype}; a target is a number, a text, or true and false")
    usual: TaskKind = "binary" if len(distinct) == 2 else "multiclass" if is_text else "regression"
    kind = asked or usual
    if kind == "binary" and len(distinct) != 2:
        raise DatasetError(f"TASK: {target!r} has {len(distinct):,} values, and a binary task has two")
    if kind == "regression" and not is_number:
        raise DatasetError(f"TASK: {target!r} is {distinct[0]!r} and others; a regression needs numbers")
    if kind == "multiclass" and len(distinct) > MOST_CLASSES:
        raise DatasetError(
            f"TARGET: {target!r} has {len(distinct):,} values; more than {MOST_CLASSES} classes are not proposed, "
            "group them"
        )
    if kind == "regression":
        return Outcome(target, kind)
    if values.dtype == bool:
        return Outcome(target, kind, (f"not_{target}", target))
    if is_text:
        return Outcome(target, kind, tuple(distinct))
    if kind == "binary" and distinct == [0, 1]:
        return Outcome(target, kind, (f"not_{target}", target), {0: f"not_{target}", 1: target})
    texts = {int(value) if float(value).is_integer() else value: f"{value:g}" for value in distinct}
    return Outcome(target, kind, tuple(texts.values()), texts)


def telling_columns(
    outcome: Outcome, labels: NDArray[Any], columns: Mapping[str, "pd.Series[Any]"], seed: int = 17
) -> dict[str, str]:
    """Columns that alone predict the target nearly without error → how well, on rows that were not used to learn it.

    Args:
        labels: (n,), see `Outcome.codes`.
        columns: name → values, (n,).
    """
    random = np.random.default_rng(seed)
    rows = random.permutation(len(labels))[:_SAMPLED]
    fitted, held_out = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    found = {}
    for name, values in columns.items():
        numbers = _numbers(values, labels, fitted)
        score, what = _score(outcome, numbers, labels, fitted, held_out)
        if score >= _TELLING:
            found[name] = f"{what} {score:.3f}"
    return found


def _numbers(values: "pd.Series[Any]", labels: NDArray[Any], fitted: NDArray[np.int64]) -> NDArray[np.float64]:
    """A column as numbers that a tree can part, nulls NaN: categories by the mean label of the rows it is fitted on."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return np.where(values.notna(), values.astype("int64"), np.nan)
    if values.dtype != object:
        return values.to_numpy(np.float64, na_value=np.nan)
    means = pd.Series(labels[fitted], dtype=np.float64).groupby(values.iloc[fitted].to_numpy()).mean()
    return values.map(means).to_numpy(np.float64)


def _score(
    outcome: Outcome,
    numbers: NDArray[np.float64],
    labels: NDArray[Any],
    fitted: NDArray[np.int64],
    held_out: NDArray[np.int64],
) -> tuple[float, str]:
    one, other = numbers[fitted].reshape(-1, 1), numbers[held_out].reshape(-1, 1)
    if outcome.kind == "regression":
        tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=5).fit(one, labels[fitted])
        return float(r2_score(labels[held_out], tree.predict(other))), "R²"
    if len(np.unique(labels[fitted])) < 2 or len(np.unique(labels[held_out])) < 2:
        return 0.0, ""
    tree = DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=5).fit(one, labels[fitted])
    if outcome.kind == "binary":
        return float(roc_auc_score(labels[held_out], tree.predict_proba(other)[:, 1])), "ROC AUC"
    return float(balanced_accuracy_score(labels[held_out], tree.predict(other))), "balanced accuracy"


def check_target(whose: str, target: str, known: int, rows: int, label_days: int) -> None:
    """Refuse nulls of a target that should be known.

    Raises:
        DatasetError: says how many, and the way out.
    """
    if known == rows:
        return
    out = "OUTCOME_AFTER=<days>d says that rows younger than that have none yet" if not label_days else ""
    raise DatasetError(
        f"TARGET: {target!r} is null in {rows - known:,} of {rows:,} rows of {whose}; leave those out"
        + (f", or {out}" if out else "")
    )


def fewest_rows(outcome: Outcome, codes: Labels) -> str:
    """Why the rows are too few for three splits; empty if they are not."""
    if outcome.kind == "regression":
        return "" if len(codes) >= 700 else f"{len(codes)} rows; about 700 are needed, 100 of them to test"
    counts = np.bincount(np.asarray(codes, dtype=np.int64), minlength=len(outcome.classes))
    few = int(counts.argmin())
    if counts[few] >= 140:
        return ""
    return f"class {outcome.classes[few]!r} has {counts[few]} rows; about 140 are needed, 20 of them to test"
