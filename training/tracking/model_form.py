"""Checks the files of a registered model: only those that training writes, and none that brings code.

Our code reads `model.skops`, or `model.onnx` of a version that was registered as ONNX. Other tools first load what
`MLmodel` names and code beside it. So a version of any other form is refused, whatever its digests are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from artefacts.model_record import MODEL_FILES, PIPELINE_FILE
from training.errors import ModelImportError

MLMODEL_FILE: Final = "MLmodel"
REGISTERED_META: Final = "registered_model_meta"
"""Names the version of a downloaded model; MLflow writes it on download."""

ONNX_FILE: Final = MODEL_FILES["onnx"]

_BESIDE = {
    MLMODEL_FILE,
    REGISTERED_META,
    "conda.yaml",
    "input_example.json",
    "python_env.yaml",
    "requirements.txt",
    "serving_input_example.json",
}
_Flavors = Mapping[str, tuple[Mapping[str, tuple[Any, ...]], frozenset[str]]]
_FREE = frozenset({"env", "python_version"})


@dataclass(frozen=True)
class _Form:
    """What training writes of one kind of model.

    file: what is loaded.
    flavors: flavour → entries with their allowed values, and entries of any value, which load nothing.
    """

    file: str
    flavors: _Flavors


def _pipeline_form(method: str) -> _Form:
    pyfunc = {"loader_module": ("mlflow.sklearn",), "model_path": (PIPELINE_FILE,), "predict_fn": (method,)}
    sklearn = {"code": (None,), "pickled_model": (PIPELINE_FILE,), "serialization_format": ("skops",)}
    free = frozenset({"sklearn_version", "skops_trusted_types"})
    return _Form(PIPELINE_FILE, {"python_function": (pyfunc, _FREE), "sklearn": (sklearn, free)})


_ONNX_FORM = _Form(
    ONNX_FILE,
    {
        "python_function": ({"loader_module": ("mlflow.onnx",), "data": (ONNX_FILE,)}, _FREE),
        "onnx": (
            {
                "code": (None,),
                "data": (ONNX_FILE,),
                "onnx_session_options": (None,),
                "providers": (["CPUExecutionProvider"],),
            },
            frozenset({"onnx_version"}),
        ),
    },
)


def refuse_foreign_code(folder: Path, what: str, method: str) -> str:
    """Check that a downloaded model has only the files and `MLmodel` entries that training writes.

    Args:
        what: the version, for messages.
        method: of the pipeline, which gives the task's answers.

    Returns:
        Name of the file to load: the pipeline's, or `ONNX_FILE` of a version that was registered as ONNX.

    Raises:
        ModelImportError: a file is missing or foreign, or `MLmodel` names something else to load.
    """
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    plain = {name for name in found if (folder / name).is_file() and not (folder / name).is_symlink()}
    form = _ONNX_FORM if ONNX_FILE in found else _pipeline_form(method)
    needed = {MLMODEL_FILE, form.file}
    if foreign := sorted(found - (_BESIDE | needed) | found - plain):
        raise ModelImportError(f"{what}: {foreign[0]!r} is not a file that training writes; train it again")
    if missing := sorted(needed - found):
        raise ModelImportError(f"{what}: {missing[0]} is missing")
    try:
        described = yaml.safe_load((folder / MLMODEL_FILE).read_bytes())
        flavors = {name: dict(entries) for name, entries in described["flavors"].items()}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, TypeError, KeyError, ValueError, AttributeError):
        raise ModelImportError(f"{what}: {MLMODEL_FILE} cannot be read; it was altered since") from None
    if objection := _objection(flavors, form.flavors):
        raise ModelImportError(f"{what}: {MLMODEL_FILE} {objection}; it was altered since, or was not trained here")
    return form.file


def _objection(flavors: Mapping[Any, Mapping[Any, Any]], expected: _Flavors) -> str:
    if flavors.keys() != expected.keys():
        return f"has the flavours {', '.join(sorted(map(str, flavors)))} instead of {', '.join(sorted(expected))}"
    for name, (fixed, free) in expected.items():
        entries = flavors[name]
        for entry, allowed in fixed.items():
            if entries.get(entry) not in allowed:
                return f"has {entries.get(entry)!r} for {name}.{entry}"
        if unknown := sorted(map(str, entries.keys() - fixed.keys() - free)):
            return f"has an entry {name}.{unknown[0]}"
    return ""
