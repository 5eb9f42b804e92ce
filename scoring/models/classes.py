"""Checks that a model predicts its contract's classes, in their order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ModelError


def check_classifier(pipeline: Any, class_names: Sequence[str]) -> None:
    """Check a fitted pipeline's classes against the contract's, in its order.

    Raises:
        ModelError: it gives no probabilities, or has other classes; names what was found and what is expected.
    """
    expected = f"{_number_of(class_names)} classes are expected, {_together(class_names)}"
    if not callable(getattr(pipeline, "predict_proba", None)):
        steps = getattr(pipeline, "steps", None)
        last = type(steps[-1][1] if steps else pipeline).__name__
        raise ModelError(f"{last} gives no probabilities (it has no predict_proba); {expected}")
    classes = getattr(pipeline, "classes_", None)
    if classes is None:
        raise ModelError(f"the model does not say which classes it tells apart; {expected}")
    if isinstance(classes, list) or np.ndim(classes) != 1:
        raise ModelError(f"the model has {len(classes)} outputs, each with classes of its own; {expected}")
    found = np.asarray(classes).tolist()
    if len(found) != len(class_names):
        raise ModelError(f"the model tells {_count(len(found))} apart ({_listed(found)}); {expected}")
    numbers = list(range(len(class_names)))  # equal to False and True, too
    if found not in (numbers, list(class_names)):
        say = "False and True, or 0 and 1" if len(numbers) == 2 else f"0 to {numbers[-1]}, or by the classes' names"
        raise ModelError(f"the model's classes are {_listed(found)}, in this order; {expected}: label the rows {say}")


def check_probabilities(given: Any, rows: int, class_names: Sequence[str]) -> None:
    """Check a model's output for `rows` rows against the contract.

    Raises:
        ModelError: it is not one probability per row and class, (rows, c).
    """
    shape = np.shape(given)
    if shape != (rows, len(class_names)):
        raise ModelError(
            f"the model answers {rows} rows by an output of shape {shape}; "
            f"({rows}, {len(class_names)}) is expected, the probabilities of {_together(class_names)}"
        )
    values: NDArray[np.float64] = np.asarray(given, dtype=np.float64)
    finite = values[np.isfinite(values).all(axis=1)]
    if ((finite < 0) | (finite > 1)).any() or (np.abs(finite.sum(axis=1) - 1) > 1e-3).any():
        outputs = f"the model's {_number_of(class_names)} outputs are no probabilities"
        raise ModelError(f"{outputs}: they are not within 0 and 1, or do not add up")


def check_label(labels: Any, probabilities: Any, class_names: Sequence[str]) -> None:
    """Check that a model's labels name the likeliest class, in the order of the contract's classes.

    Args:
        labels, probabilities: of the same rows, (n,) and (n, c).

    Raises:
        ModelError: a label does not name the likeliest class.
    """
    for label, row in zip(np.ravel(labels).tolist(), np.asarray(probabilities, dtype=np.float64), strict=True):
        likeliest = np.flatnonzero(row == row.max()).tolist()
        if np.isfinite(row).all() and label not in [*likeliest, *(class_names[position] for position in likeliest)]:
            found = [f"of {name} {probability:.3f}" for name, probability in zip(class_names, row, strict=True)]
            raise ModelError(
                f"the model calls a row {label!r} whose probabilities are {_together(found)}: "
                "its classes are not the contract's, in this order"
            )


def _number_of(class_names: Sequence[str]) -> str:
    return "two" if len(class_names) == 2 else str(len(class_names))


def _together(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"


def _listed(found: Sequence[Any]) -> str:
    return ", ".join(map(repr, found[:5])) + (", …" if len(found) > 5 else "")


def _count(classes: int) -> str:
    return f"{classes} class{'' if classes == 1 else 'es'}"
