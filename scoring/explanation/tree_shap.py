"""Path-dependent TreeSHAP of trees of any library, exact and in numpy alone.

**The game** is that of Lundberg et al., "From local explanations to global understanding with explainable AI for trees"
(Nature Machine Intelligence, 2020), algorithm 1: at a split by a column that is not known, both branches are followed,
weighted by the training rows that took each. So a leaf of value v, whose path splits by the columns D, is worth
v · Π(o_j, j known) · Π(z_j, j not known): o_j is 1 where the row passes all of the path's splits by column j, else 0;
z_j is the product of these splits' shares of the training rows. The trees' score is the sum over their leaves.

**The value** is that of Owen, "Multilinear extensions of games" (Management Science, 1972): a player's Shapley value is
the integral, over t from 0 to 1, of the gain from adding it when each other player is in with probability t:

    φ_j = v · (o_j - z_j) · ∫ Π_{i ∈ D, i ≠ j} (t · o_i + (1 - t) · z_i) dt

The integrand is a polynomial of degree |D| - 1, so Gauss-Legendre quadrature with half of |D| nodes, rounded up, is
exact. All its terms are positive: nothing cancels, however deep the trees are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scoring.explanation.additive_scores import Floats

AT_ONCE: Final = 2**15
"""How many factors are computed at once, so that they stay in the processor's cache."""

NODES_AT_ONCE: Final = 2**16
"""Of how many nodes the paths are prepared at once; in preparation a node takes some kilobytes."""


@dataclass(frozen=True)
class Nodes:
    """The n nodes of one or more trees.

    left, right: (n,), a node's children; -1 in a leaf.
    columns: (n,), by which an inner node splits.
    thresholds: (n,); up to it, a value goes left. NaN where `categories` say it.
    nulls_go_left: (n,), where NaN goes.
    weights: (n,), of the training rows that passed the node, above 0.
    values: (n, s), what a leaf gives each of s scores.
    categories: (n, c), which of c codes go left, of trees that split by codes.
    """

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    columns: NDArray[np.intp]
    thresholds: Floats
    nulls_go_left: NDArray[np.bool_]
    weights: Floats
    values: Floats
    categories: NDArray[np.bool_] | None = None

    @classmethod
    def of_all(cls, trees: "Sequence[Nodes]") -> "Nodes":
        """Those of several trees, one after the other; all of them split by codes, or none."""
        starts = np.cumsum([0, *(len(tree.left) for tree in trees[:-1])])

        def moved(name: str) -> Any:
            found = [(getattr(tree, name), start) for tree, start in zip(trees, starts, strict=True)]
            return np.concatenate([np.where(children < 0, -1, children + start) for children, start in found])

        def joined(name: str) -> Any:
            return np.concatenate([getattr(tree, name) for tree in trees])

        own = ["columns", "thresholds", "nulls_go_left", "weights", "values"]
        own += [] if trees[0].categories is None else ["categories"]
        return cls(left=moved("left"), right=moved("right"), **{name: joined(name) for name in own})

    def go_left(self, row: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Which of the splits a row of all columns, (m,), passes to the left: (n,); undefined in leaves."""
        given = row[self.columns]
        null = np.isnan(given)
        found: NDArray[np.bool_] = (given <= self.thresholds) | (self.nulls_go_left & null)
        if self.categories is not None:
            by_code = np.flatnonzero(np.isnan(self.thresholds) & ~null)
            found[by_code] = self.categories[by_code, given[by_code].astype(np.intp)]
        return found


class TreeShap:
    """Contributions of columns to the s scores of trees.

    base_values: (s,), the scores when no column is known.
    """

    def __init__(self, trees: Sequence[Nodes]) -> None:
        self._groups = [_Group(Nodes.of_all(few)) for few in _in_groups(trees)]
        self.base_values: Floats = np.sum([group.base_values for group in self._groups], axis=0)

    def contributions(self, rows: NDArray[np.floating[Any]]) -> Floats:
        """Compute what each column gives each score: rows (n, m) → (n, m, s)."""
        found = np.zeros((*rows.shape, len(self.base_values)))
        for added, row in zip(found, rows, strict=True):
            for group in self._groups:
                group.add_to(added, row)
        return found


def _in_groups(trees: Sequence[Nodes]) -> Iterator[list[Nodes]]:
    few: list[Nodes] = []
    for tree in trees:
        if few and sum(len(each.left) for each in few) + len(tree.left) > NODES_AT_ONCE:
            yield few
            few = []
        few.append(tree)
    yield few


class _Group:
    """Some of the trees.

    A *part* is a leaf with one of the columns that its path splits by. A block has leaves of the same number of parts,
    and of all these leaves the first part, then of all the second, and so on.
    """

    def __init__(self, nodes: Nodes) -> None:
        leaves = np.flatnonzero(nodes.left < 0)
        leaf, split, is_left, share = _paths(nodes, leaves)
        width = int(nodes.columns.max()) + 1
        parts, part = np.unique(leaf * width + nodes.columns[split], return_inverse=True)
        leaf_of, column = np.divmod(parts, width)
        rank = np.arange(len(parts)) - np.searchsorted(leaf_of, leaf_of)  # of a part among those of its leaf
        blocks = _blocks(np.bincount(leaf_of, minlength=len(leaves)))
        block_of = np.full(len(leaves), -1)
        for number, (_, few) in enumerate(blocks):
            block_of[few] = number

        # From here on, parts are in the order of the blocks.
        placed = np.lexsort((leaf_of, rank, block_of[leaf_of]))
        part = np.argsort(placed)[part]
        order = np.argsort(part, kind="stable")
        self._nodes = nodes
        self._split, self._is_left = split[order].astype(np.int32), is_left[order]
        self._starts = np.searchsorted(part[order], np.arange(len(parts)))
        shares = np.multiply.reduceat(share[order], self._starts) if len(order) else share  # z
        columns = column[placed]
        self._blocks: list[_Block] = []
        reached, start = np.ones(len(leaves)), 0
        for d, few in blocks:
            place = slice(start, start := start + d * len(few))
            of_block = shares[place].reshape(d, len(few))
            reached[few] = of_block.prod(axis=0)
            values = np.ascontiguousarray(nodes.values[leaves[few]].T)
            self._blocks.append(_Block(place, of_block, columns[place], values, *_quadrature(d)))
        self.base_values: Floats = reached @ nodes.values[leaves]

    def add_to(self, contributions: Floats, row: NDArray[np.floating[Any]]) -> None:
        """Add those of a row (m,), to (m, s)."""
        if self._blocks:  # some tree splits
            passed = np.logical_and.reduceat(self._nodes.go_left(row)[self._split] == self._is_left, self._starts)  # o
            for block in self._blocks:
                block.add_to(contributions, passed[block.parts])


@dataclass(frozen=True)
class _Block:
    """Some leaves whose paths split by d columns.

    parts: where the d · leaves parts are among the group's.
    shares: (d, leaves), z.
    columns: (d · leaves,).
    values: (s, leaves).
    points, weights: (q, 1, 1), of the quadrature.
    """

    parts: slice
    shares: Floats
    columns: NDArray[np.intp]
    values: Floats
    points: Floats
    weights: Floats

    def add_to(self, contributions: Floats, passed: NDArray[np.bool_]) -> None:
        known = passed.reshape(self.shares.shape)
        factors = self.points * known
        factors += (1 - self.points) * self.shares
        products = self.weights * np.multiply.reduce(factors, axis=1, keepdims=True)
        integrals = np.divide(products, factors, out=factors).sum(axis=0)
        integrals *= known - self.shares
        for score, values in enumerate(self.values):
            gained = (integrals * values).ravel()
            contributions[:, score] += np.bincount(self.columns, gained, minlength=len(contributions))


def _quadrature(d: int) -> tuple[Floats, Floats]:
    """Points and weights (q, 1, 1), exact for polynomials of degree d - 1 from 0 to 1."""
    points, weights = np.polynomial.legendre.leggauss((d + 1) // 2)
    return (points[:, np.newaxis, np.newaxis] + 1) / 2, weights[:, np.newaxis, np.newaxis] / 2


def _blocks(lengths: NDArray[np.intp]) -> list[tuple[int, NDArray[np.intp]]]:
    """From how many parts each leaf has: for each block that number and its leaves."""
    blocks = []
    for d in np.unique(lengths[lengths > 0]).tolist():
        leaves = np.flatnonzero(lengths == d)
        at_once = max(1, AT_ONCE // (d * ((d + 1) // 2)))
        blocks += [(d, few) for few in np.split(leaves, np.arange(at_once, len(leaves), at_once))]
    return blocks


def _paths(nodes: Nodes, leaves: NDArray[np.intp]) -> tuple[Any, Any, Any, Any]:
    """The splits between leaves and roots: number of the leaf, node, whether the path goes left, share of the rows."""
    parent = np.full(len(nodes.left), -1)
    inner = np.flatnonzero(nodes.left >= 0)
    parent[nodes.left[inner]] = parent[nodes.right[inner]] = inner
    found: list[tuple[Any, Any, Any, Any]] = []
    leaf, at = np.arange(len(leaves)), leaves
    while len(at):
        above = parent[at]
        leaf, at, above = leaf[above >= 0], at[above >= 0], above[above >= 0]
        share = nodes.weights[at] / (nodes.weights[nodes.left[above]] + nodes.weights[nodes.right[above]])
        found.append((leaf, above, nodes.left[above] == at, share))
        at = above
    leaf, split, is_left, share = (np.concatenate(column) for column in zip(*found, strict=True))
    return leaf, split, is_left, share
