"""Makes rows at a pipeline's decision boundaries, where a compiled model with other boundaries would differ."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.pipeline import Pipeline
from sklearn.tree import BaseDecisionTree

from scoring.models.model_frame import NUMBERS, CodedColumns
from scoring.models.pipeline_parts import parts
from training.compilation.float32_thresholds import round_down_to_float32

Rows = NDArray[np.float32]

MOST_NODES = 4_000
_LINES = 384
_NEIGHBOURS = (-2, -1, 0, 1, 2)
_SMALLEST_STEP = 1e-5
_LIGHTGBM = ("LGBMClassifier", "LGBMRegressor")


def proof_rows(pipeline: Pipeline, rows: Rows, seed: int = 0, coded: CodedColumns = NUMBERS) -> Rows:
    """Rows at the pipeline's own thresholds, derived from real rows.

    - For each split of each tree: a row that reaches it and lies on the threshold, and its float32 neighbours on both
      sides. Large ensembles: `MOST_NODES` splits.
    - For jumps of the answer between two values of an input, found by bisection: the values on both sides and their
      neighbours. This covers trees behind a transform, nearest neighbours and isotonic steps.

    Args:
        rows: real rows, (n, k) in the pipeline's order, n ≥ 1.
        coded: columns that hold codes; they keep their values.
    """
    random = np.random.default_rng(seed)
    found = [] if coded.categories else list(_at_splits(pipeline, rows, random))
    found.append(_at_jumps(pipeline, rows, random, coded))
    return np.ascontiguousarray(np.concatenate(found), dtype=np.float32)


def _at_splits(pipeline: Pipeline, rows: Rows, random: np.random.Generator) -> Iterator[Rows]:
    trees = [tree for tree in _trees(pipeline) if not len(tree[2]) or tree[2].max() < rows.shape[1]]
    each = max(1, MOST_NODES // max(1, len(trees)))
    for tree in (trees[at] for at in random.permutation(len(trees))[:MOST_NODES]):
        made = _rows_through(tree, rows[random.integers(len(rows))], each)
        if made:
            yield np.array(made, dtype=np.float32)


_Tree = tuple[NDArray[Any], NDArray[Any], NDArray[Any], Rows]
"""Per node: left child, right child, input it splits by (−1 for a leaf), largest value that goes left."""


def _trees(pipeline: Pipeline) -> Iterator[_Tree]:
    for part, _ in parts(pipeline):
        if isinstance(part, BaseDecisionTree) and hasattr(part, "tree_"):
            tree = part.tree_
            feature = np.where(tree.children_left < 0, -1, tree.feature)
            yield tree.children_left, tree.children_right, feature, round_down_to_float32(tree.threshold)
        elif type(part).__name__ == "TreePredictor":
            nodes = part.nodes
            feature = np.where(nodes["is_leaf"] != 0, -1, nodes["feature_idx"])
            yield nodes["left"], nodes["right"], feature, round_down_to_float32(nodes["num_threshold"])
        elif type(part).__name__ in (*_LIGHTGBM, "XGBClassifier", "XGBRegressor"):
            yield from _boosted(part)


def _boosted(model: Any) -> Iterator[_Tree]:
    """Trees of LightGBM, which goes left for ≤, and of XGBoost, which goes left for <."""
    if type(model).__name__ in _LIGHTGBM:
        table = model.booster_.trees_to_dataframe()
        names = model.booster_.feature_name()
        tree, node, left, right = "tree_index", "node_index", "left_child", "right_child"
        feature, threshold = "split_feature", "threshold"
    else:
        table = model.get_booster().trees_to_dataframe()
        names = model.get_booster().feature_names or [f"f{n}" for n in range(model.n_features_in_)]
        tree, node, left, right, feature, threshold = "Tree", "ID", "Yes", "No", "Feature", "Split"
    column = {name: at for at, name in enumerate(names)}
    for _, nodes in table.groupby(tree, sort=True):
        at = {name: position for position, name in enumerate(nodes[node])}
        children = [[at.get(name, -1) for name in nodes[side]] for side in (left, right)]
        limits = np.nan_to_num(nodes[threshold].astype(np.float64).to_numpy())
        features = np.array([column.get(name, -1) for name in nodes[feature]])
        goes_left = round_down_to_float32(limits)
        if feature == "Feature":
            goes_left = np.nextafter(limits.astype(np.float32), np.float32(-np.inf))
        yield np.array(children[0]), np.array(children[1]), features, goes_left


def _rows_through(tree: _Tree, start: Rows, most: int) -> list[Rows]:
    """Rows that reach up to `most` nodes, breadth first: `start`, changed as little as needed."""
    left, right, feature, limit = tree
    made: list[Rows] = []
    waiting = [(0, start)]
    for _ in range(most):
        if not waiting:
            break
        node, row = waiting.pop(0)
        column = feature[node]
        if column < 0:
            continue
        further, below, above = (row.copy() for _ in range(3))
        below[column] = limit[node]
        with np.errstate(over="ignore"):
            above[column] = np.nextafter(limit[node], np.float32(np.inf))
            further[column] = np.nextafter(limit[node], np.float32(-np.inf))
        made += [each for each in (further, below, above) if np.isfinite(each).all()]
        waiting.append((int(left[node]), row if row[column] <= limit[node] else below))
        waiting.append((int(right[node]), row if row[column] > limit[node] else above))
    return made


def _at_jumps(pipeline: Pipeline, rows: Rows, random: np.random.Generator, coded: CodedColumns) -> Rows:
    """Bisect 32 times between two values of one input, the rest of the row fixed, to where the answer jumps."""
    numbers = np.array([at for at in range(rows.shape[1]) if at not in coded.categories], dtype=np.intp)
    if not len(numbers):
        return rows[:0]
    columns = numbers[np.arange(_LINES) % len(numbers)]
    base = rows[random.integers(len(rows), size=_LINES)]
    other = rows[random.integers(len(rows), size=_LINES), columns]
    line = np.arange(_LINES)
    low, high = _as_ordered_integers(base[line, columns]), _as_ordered_integers(other)
    low, high = np.minimum(low, high), np.maximum(low, high)

    def moved(to: NDArray[np.int64]) -> Rows:
        made = base.copy()
        made[line, columns] = _float32(to)
        return made

    at_low, at_high = _answers(pipeline, moved(low), coded), _answers(pipeline, moved(high), coded)
    for _ in range(32):
        middle = low + (high - low) // 2
        at_middle = _answers(pipeline, moved(middle), coded)
        lower = _distance(at_middle, at_low) >= _distance(at_high, at_middle)
        high, at_high = np.where(lower, middle, high), np.where(lower[:, np.newaxis], at_middle, at_high)
        low, at_low = np.where(lower, low, middle), np.where(lower[:, np.newaxis], at_low, at_middle)
    jumps = _distance(at_high, at_low) > _SMALLEST_STEP * np.maximum(1, np.abs(at_low).max(axis=1))
    near = np.concatenate([moved(low + step)[jumps] for step in _NEIGHBOURS])
    finite: Rows = near[np.isfinite(near).all(axis=1)]
    return finite


def _answers(pipeline: Pipeline, rows: Rows, coded: CodedColumns) -> NDArray[np.float64]:
    """Probabilities (n, c), of two classes that of the positive one (n, 1); or the values of a regression (n, 1)."""
    names = getattr(pipeline, "feature_names_in_", None)
    matrix = rows if names is None else coded.frame(rows, list(names))
    if is_regressor(pipeline):
        return np.asarray(pipeline.predict(matrix), dtype=np.float64).reshape(-1, 1)
    probabilities = np.asarray(pipeline.predict_proba(matrix), dtype=np.float64)
    return probabilities[:, 1:] if probabilities.shape[1] == 2 else probabilities


def _distance(answers: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.abs(answers - others).max(axis=1))


def _as_ordered_integers(values: Rows) -> NDArray[np.int64]:
    """Map float32 to integers in the same order; neighbours differ by one."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _float32(ordered: NDArray[np.int64]) -> Rows:
    bits = np.where(ordered < 0, -ordered | 0x80000000, ordered)
    return bits.astype(np.uint32).view(np.float32)
