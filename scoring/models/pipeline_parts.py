"""What stands inside a fitted pipeline."""

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np


def parts(whole: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield every object in a pipeline once, with the estimators that contain it, outermost first.

    Follows attributes, dicts, lists, tuples, sets and arrays of objects.
    """
    from sklearn.base import BaseEstimator

    seen: dict[int, Any] = {}  # keeps the objects alive, so that no id is reused
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(whole, ())]
    while waiting:
        part, around = waiting.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        yield part, around
        inside = (*around, part) if isinstance(part, BaseEstimator) else around
        waiting += [(member, inside) for member in _members(part)]


def chosen_columns(step: Any, chosen: Any) -> list[int]:
    """Positions of the columns that a part of a fitted ColumnTransformer takes.

    Args:
        chosen: as in its `transformers_`: names, positions, a slice or a mask, of one or several.
    """
    everywhere = list(range(step.n_features_in_))
    names = list(getattr(step, "feature_names_in_", []))
    if isinstance(chosen, slice):
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            first = None if chosen.start is None else names.index(chosen.start)
            last = None if chosen.stop is None else names.index(chosen.stop) + 1
            chosen = slice(first, last, chosen.step)
        return list(everywhere[chosen])
    listed: list[Any] = np.atleast_1d(np.asarray(chosen, dtype=object)).tolist()
    if listed and all(isinstance(each, bool | np.bool_) for each in listed):
        return [at for at in everywhere if listed[at]]
    return [names.index(each) if isinstance(each, str) else everywhere[each] for each in listed]


def _members(part: Any) -> list[Any]:
    found: list[Any] = []
    if isinstance(part, np.ndarray):
        return list(part.flat) if part.dtype == object else []
    if isinstance(part, type | FunctionType | ModuleType | str | bytes | int | float | np.generic | np.dtype):
        return []
    if isinstance(part, dict):
        found += part.values()
    if isinstance(part, list | tuple | set | frozenset):
        found += part
    found += getattr(part, "__dict__", {}).values()
    return found
