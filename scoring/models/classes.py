"""Checks that a model predicts its contract's two classes, in their order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ModelError


def check_classifier(pipeline: Any, class_names: Sequence[str]) -> None:
    """Check a fitted pipeline's classes against the contract's: the negative one, then the positive one.

    Raises:
        ModelError: it gives no probabilities, or has other classes; names what was found and what is expected.
    """
    expected = f"two classes are expected, {class_names[0]} and {class_names[1]}"
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
    if not any(found == labels for labels in ([False, True], [0, 1], list(class_names))):
        raise ModelError(
            f"the model's classes are {_listed(found)}, in this order; {expected}: "
            "label the rows False and True, or 0 and 1"
        )


def check_probabilities(given: Any, rows: int, class_names: Sequence[str]) -> None:
    """Check a model's output for `rows` rows against the contract.

    Raises:
        ModelError: it is not one probability per row and class, (rows, 2).
    """
    shape = np.shape(given)
    if shape != (rows, len(class_names)):
        raise ModelError(
            f"the model answers {rows} rows by an output of shape {shape}; "
            f"({rows}, 2) is expected, the probabilities of {class_names[0]} and {class_names[1]}"
        )
    values: NDArray[np.float64] = np.asarray(given, dtype=np.float64)
    finite = values[np.isfinite(values).all(axis=1)]
    if ((finite < 0) | (finite > 1)).any() or (np.abs(finite.sum(axis=1) - 1) > 1e-3).any():
        raise ModelError("the model's two outputs are no probabilities: they are not within 0 and 1, or do not add up")


def check_label(labels: Any, probabilities: Any, class_names: Sequence[str]) -> None:
    """Check that a model's labels name the likelier class, in the order of the contract's classes.

    Args:
        labels, probabilities: of the same rows, (n,) and (n, 2).

    Raises:
        ModelError: a label does not name the likelier class.
    """
    for label, both in zip(np.ravel(labels).tolist(), np.asarray(probabilities, dtype=np.float64), strict=True):
        likelier = int(both[1] > both[0])
        accepted = (bool(likelier), likelier, class_names[likelier])
        if both[0] != both[1] and label not in accepted:
            raise ModelError(
                f"the model calls a row {label!r} whose probabilities are of {class_names[0]} {both[0]:.3f} and of "
                f"{class_names[1]} {both[1]:.3f}: its classes are not the contract's, in this order"
            )


def _listed(found: Sequence[Any]) -> str:
    return ", ".join(map(repr, found[:5])) + (", …" if len(found) > 5 else "")


def _count(classes: int) -> str:
    return f"{classes} class{'' if classes == 1 else 'es'}"
