"""Everything that a fitted pipeline is made of."""

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np


def parts(whole: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every object in a pipeline once, with the estimators around it, the outermost first.

    Goes through members, dicts, lists, tuples and arrays of objects.
    """
    from sklearn.base import BaseEstimator

    seen: dict[int, Any] = {}  # with the objects, so that no id is given out a second time
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(whole, ())]
    while waiting:
        part, around = waiting.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        yield part, around
        inside = (*around, part) if isinstance(part, BaseEstimator) else around
        waiting += [(member, inside) for member in _members(part)]


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
