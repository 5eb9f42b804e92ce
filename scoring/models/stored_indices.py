"""Checks the array indices in the trees and neighbours of a stored pipeline.

scikit-learn's compiled code does not check a node's children and feature, or a neighbour's row. A forged file could
make it read outside its arrays or loop for ever.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ModelError
from scoring.models.pipeline_parts import parts

_TREE_LEAF = -1


def check_indices(pipeline: Any) -> None:
    """Check every index in a pipeline's trees and neighbours.

    Raises:
        ModelError: an index is out of range, or a branch leads back.
    """
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )
    from sklearn.neighbors import BallTree, KDTree
    from sklearn.tree import BaseDecisionTree
    from sklearn.tree._tree import Tree

    boosted = HistGradientBoostingClassifier | HistGradientBoostingRegressor
    staged: list[Any] = []
    for part, around in parts(pipeline):
        if isinstance(part, Tree):
            if not around or not isinstance(around[-1], BaseDecisionTree):
                raise ModelError("it holds a tree outside a decision tree")
            _check_tree(part, _columns(around))
        elif type(part).__name__ == "TreePredictor":
            owner = around[-1] if around else None
            if not isinstance(owner, boosted):
                raise ModelError("it holds a boosted tree outside its ensemble")
            _check_boosted_tree(part, owner, _columns(around))
        elif isinstance(part, GradientBoostingClassifier | GradientBoostingRegressor):
            staged.append(part)
        elif isinstance(part, KDTree | BallTree):
            _check_neighbours(part)
    for part in staged:  # at the end, because it computes their first stage
        _check_stages(part)


def _columns(around: tuple[Any, ...]) -> int:
    """The number of columns that the innermost estimator is guaranteed to receive.

    Forests and gradient boosting check the columns themselves and pass them to their trees unchecked.
    """
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
    from sklearn.ensemble._forest import BaseForest

    *outer, owner = around
    owners = [owner]
    if outer and isinstance(outer[-1], BaseForest | GradientBoostingClassifier | GradientBoostingRegressor):
        owners.append(outer[-1])
    counts = [getattr(each, "n_features_in_", None) for each in owners]
    known = [int(count) for count in counts if isinstance(count, int | np.integer)]
    if len(known) < len(counts):
        raise ModelError("it holds a tree with an unknown number of columns")
    return min(known)


def _check_tree(tree: Any, columns: int) -> None:
    if not 0 < tree.node_count <= tree.capacity:
        raise ModelError("it holds a tree with a wrong node count")
    left, right = tree.children_left, tree.children_right
    split = left != _TREE_LEAF
    _check_children(left[split], right[split], np.flatnonzero(split), tree.node_count)
    _check_range("a tree's feature", tree.feature[split], columns)


def _check_boosted_tree(predictor: Any, owner: Any, columns: int) -> None:
    nodes = predictor.nodes
    if not len(nodes):
        raise ModelError("it holds a tree without nodes")
    split = nodes["is_leaf"] == 0
    at = np.flatnonzero(split)
    _check_children(nodes["left"][split].astype(np.int64), nodes["right"][split].astype(np.int64), at, len(nodes))
    _check_range("a tree's feature", nodes["feature_idx"][split], columns)
    by_category = split & (nodes["is_categorical"] != 0)
    if by_category.any():
        categorical = np.zeros(columns, dtype=bool)
        bins: Any = getattr(owner, "_bin_mapper", None)  # in the trees' column order
        declared = getattr(bins, "is_categorical_", None)
        if declared is not None and len(declared) == len(bins.bin_thresholds_) == columns:
            categorical = np.asarray(declared, dtype=bool)
        if not categorical[nodes["feature_idx"][by_category]].all():
            raise ModelError("it holds a split by categories of a feature that has none")
        _check_range("a tree's categories", nodes["bitset_idx"][by_category], len(predictor.raw_left_cat_bitsets))


def _check_stages(boosted: Any) -> None:
    """Refuse other trees per stage than score columns: each tree adds to its own column, unchecked."""
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    if not hasattr(boosted, "estimators_"):
        return
    first = getattr(boosted, "init_", None)
    if any(isinstance(part, GradientBoostingClassifier | GradientBoostingRegressor) for part, _ in parts(first)):
        raise ModelError("it holds gradient boosting in the first stage of gradient boosting")
    if np.shape(boosted.estimators_)[1:] != (_score_columns(boosted),):
        raise ModelError("it holds more or fewer boosted trees in a stage than there are columns to add to")


def _score_columns(boosted: Any) -> int:
    """The number of columns of the scores before the first stage.

    They come from `init_`, a model in the file; its answer to one row shows them.
    """
    from sklearn.base import is_classifier

    try:
        if isinstance(boosted.init_, str):
            return int(boosted.n_trees_per_iteration_)
        row = np.zeros((1, boosted.n_features_in_), dtype=np.float32)
        if not is_classifier(boosted):
            return int(np.prod(np.shape(boosted.init_.predict(row))[1:]))
        shape = np.shape(boosted.init_.predict_proba(row))
        return int(shape[1]) if boosted._loss.is_multiclass else int(shape[1] >= 2)
    except Exception as error:  # of any estimator, made by hand
        raise ModelError(f"it holds gradient boosting without a first stage: {type(error).__name__}") from None


def _check_children(left: NDArray[Any], right: NDArray[Any], parents: NDArray[Any], nodes: int) -> None:
    for children in (left, right):
        _check_range("a tree's child", children, nodes)
        if (children <= parents).any():
            raise ModelError("it holds a tree whose branches lead back")


def _check_neighbours(tree: Any) -> None:
    data, rows, nodes, bounds = (np.asarray(array) for array in tree.get_arrays())
    _check_range("a neighbour", rows, len(data))
    _check_range("the start of a group of neighbours", nodes["idx_start"], len(data) + 1)
    _check_range("the end of a group of neighbours", nodes["idx_end"], len(data) + 1)
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    _check_range("a branch of neighbours", 2 * inner + 2, len(nodes))
    per_node = 2 if type(tree).__name__ == "KDTree" else 1  # a box has two corners, a ball has a centre
    if len(rows) != len(data) or bounds.shape != (per_node, len(nodes), data.shape[1]):
        raise ModelError("it holds neighbours with arrays of different sizes")


def _check_range(what: str, indices: NDArray[Any], size: int) -> None:
    if len(indices) and not (indices.min() >= 0 and indices.max() < size):
        raise ModelError(f"it holds an index out of range: {what}")
