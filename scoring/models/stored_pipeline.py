"""Reading a scikit-learn pipeline from its skops file, in every plane. Nothing is unpickled, nothing is run."""

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from scoring.errors import ModelError
from scoring.models.stored_indices import check_indices
from scoring.models.trusted_types import SETTING, TRUSTED_TYPES, trusted_types

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

BOOSTERS = ("lightgbm", "xgboost", "catboost")
"""Libraries whose models are read by their own loaders, which are not made for files of strangers."""


def foreign_types(document: bytes) -> set[str]:
    """What the file is made of beyond skops' list and ours."""
    import skops.io

    return set(skops.io.get_untrusted_types(data=document)) - TRUSTED_TYPES


def untrusted(types: Collection[str]) -> str:
    """What to say of types that nobody trusts; empty if all are trusted.

    Raises:
        ContractError: MODEL_TRUSTED_TYPES is no list of types.
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
        promised: the foreign types that its contract names. They are trusted by nobody for that.
        boosters: whether LightGBM and its like may be loaded; where models are trained only.

    Raises:
        ModelError: it holds a type that is not allowed here, or was not there when it was registered.
        Exception: of skops and zipfile, for a file that is no pipeline.
    """
    # Needed only where ONNX is not enough; imported here, it costs the others neither time nor memory.
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
