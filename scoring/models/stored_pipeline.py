"""Reads a scikit-learn pipeline from its skops file, in every plane. Nothing is unpickled or run."""

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from scoring.errors import ModelError
from scoring.models.stored_indices import check_indices
from scoring.models.trusted_types import SETTING, TRUSTED_TYPES, trusted_types

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

BOOSTERS = ("lightgbm", "xgboost", "catboost")
"""Libraries with loaders of their own, which are not safe for untrusted files."""


def foreign_types(document: bytes) -> set[str]:
    """The file's types that are neither on skops' list nor on ours."""
    import skops.io

    return set(skops.io.get_untrusted_types(data=document)) - TRUSTED_TYPES


def untrusted(types: Collection[str]) -> str:
    """The error message for types that are not trusted; empty if all are.

    Raises:
        ContractError: MODEL_TRUSTED_TYPES is not a list of types.
    """
    unknown = set(types) - trusted_types(os.environ)
    if not unknown:
        return ""
    return (
        f"it holds types that are not on the allow-list: {', '.join(sorted(unknown))}; "
        f'if you trust them, set {SETTING}="{" ".join(sorted(types))}" for training, service and jobs'
    )


def read_pipeline(document: bytes, promised: Collection[str], boosters: bool = False) -> "Pipeline":
    """Build a pipeline from its file.

    Args:
        promised: the foreign types that its contract names. Naming does not make them trusted.
        boosters: allow LightGBM and its like; only where models are trained.

    Raises:
        ModelError: it holds a type that is not allowed here, or that its contract does not name.
        Exception: of skops and zipfile, for a file that is not a pipeline.
    """
    # Imported here, because a process that scores with ONNX does not need it.
    import skops.io

    foreign = foreign_types(document)
    library = next((name for name in BOOSTERS if any(kind.split(".")[0] == name for kind in foreign)), None)
    if library is not None and not boosters:
        raise ModelError(f"it holds a model of {library}, which is loaded only where it is trained; it serves as ONNX")
    if said := untrusted(foreign):
        raise ModelError(said)
    if unpromised := foreign - set(promised):
        raise ModelError(f"it holds types that its contract does not name: {', '.join(sorted(unpromised))}")
    pipeline: Pipeline = skops.io.loads(document, trusted=sorted(TRUSTED_TYPES | foreign))
    check_indices(pipeline)
    return pipeline
