"""Checks the files of a registered model: only those that training writes, and none that brings code.

Our code reads `model.skops` alone. Other tools first load what `MLmodel` names and code beside it. So a version of any
other form is refused, whatever its digests are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from artefacts.model_record import PIPELINE_FILE
from training.errors import ModelImportError

MLMODEL_FILE: Final = "MLmodel"
REGISTERED_META: Final = "registered_model_meta"
"""Names the version of a downloaded model; MLflow writes it on download."""

_NEEDED = frozenset({MLMODEL_FILE, PIPELINE_FILE})
_ALLOWED = _NEEDED | {
    REGISTERED_META,
    "conda.yaml",
    "input_example.json",
    "python_env.yaml",
    "requirements.txt",
    "serving_input_example.json",
}
_PYFUNC: Mapping[str, tuple[Any, ...]] = {
    "loader_module": ("mlflow.sklearn",),
    "model_path": (PIPELINE_FILE,),
}
_SKLEARN: Mapping[str, tuple[Any, ...]] = {
    "code": (None,),
    "pickled_model": (PIPELINE_FILE,),
    "serialization_format": ("skops",),
}
_PYFUNC_FLAVOR: Final = "python_function"
_FLAVORS: Mapping[str, tuple[Mapping[str, tuple[Any, ...]], frozenset[str]]] = {
    _PYFUNC_FLAVOR: (_PYFUNC, frozenset({"env", "python_version"})),
    "sklearn": (_SKLEARN, frozenset({"sklearn_version", "skops_trusted_types"})),
}
"""Flavour → entries with their allowed values, and entries of any value, which load nothing."""


def refuse_foreign_code(folder: Path, what: str, method: str) -> None:
    """Check that a downloaded model has only the files and `MLmodel` entries that training writes.

    Args:
        what: the version, for messages.
        method: of the pipeline, which gives the task's answers.

    Raises:
        ModelImportError: a file is missing or foreign, or `MLmodel` names something else to load.
    """
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    plain = {name for name in found if (folder / name).is_file() and not (folder / name).is_symlink()}
    if foreign := sorted(found - _ALLOWED | found - plain):
        raise ModelImportError(f"{what}: {foreign[0]!r} is not a file that training writes; train it again")
    if missing := sorted(_NEEDED - found):
        raise ModelImportError(f"{what}: {missing[0]} is missing")
    try:
        described = yaml.safe_load((folder / MLMODEL_FILE).read_bytes())
        flavors = {name: dict(entries) for name, entries in described["flavors"].items()}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, TypeError, KeyError, ValueError, AttributeError):
        raise ModelImportError(f"{what}: {MLMODEL_FILE} cannot be read; it was altered since") from None
    if objection := _objection(flavors, method):
        raise ModelImportError(f"{what}: {MLMODEL_FILE} {objection}; it was altered since, or was not trained here")


def _objection(flavors: Mapping[Any, Mapping[Any, Any]], method: str) -> str:
    if flavors.keys() != _FLAVORS.keys():
        return f"has the flavours {', '.join(sorted(map(str, flavors)))} instead of {', '.join(sorted(_FLAVORS))}"
    for name, (written, free) in _FLAVORS.items():
        entries = flavors[name]
        fixed = {**written, "predict_fn": (method,)} if name == _PYFUNC_FLAVOR else written
        for entry, allowed in fixed.items():
            if entries.get(entry) not in allowed:
                return f"has {entries.get(entry)!r} for {name}.{entry}"
        if unknown := sorted(map(str, entries.keys() - fixed.keys() - free)):
            return f"has an entry {name}.{unknown[0]}"
    return ""
