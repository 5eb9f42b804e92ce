"""A version of the MLflow registry → the BentoML model store, compiled, checked and pinned."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import bentoml
from bentoml.exceptions import NotFound

from contract import content_sha256
from contract.artefacts import MODEL_FILES, PIPELINE_FILE, Artefacts
from training import onnx_model, registry
from training.errors import ModelImportError
from training.promotion import PASSED
from training.registry import RegisteredModel


@dataclass(frozen=True)
class Imported:
    """What was put into the model store.

    runtime: `onnx`, or `sklearn` where the pipeline cannot be expressed in ONNX.
    comparison: None without ONNX.
    """

    tag: str
    runtime: str
    comparison: onnx_model.Comparison | None
    reason: str = ""

    def __str__(self) -> str:
        if self.comparison is None:
            return f"imported {self.tag}, served by scikit-learn: {self.reason}"
        return (
            f"imported {self.tag}, compiled to ONNX: {self.comparison.rows:,} test rows, largest difference "
            f"{self.comparison.largest_difference:.1e}, {self.comparison.changed_decisions} changed decisions"
        )


def import_model(artefacts: Artefacts, name: str, alias_or_version: str, tracking_uri: str) -> Imported:
    """Import one version and pin its tag in `artefacts.model_tag`, which the service reads.

    The same version always gives the same tag; importing it again changes nothing.

    Raises:
        TrainingError: no such version or alias.
        ModelImportError: it did not pass the gate, an artifact is missing or altered, or ONNX and
            scikit-learn disagree.
    """
    client = registry.open_registry(tracking_uri, name)
    version = registry.version_of(client, name, alias_or_version)
    verdict = version.tags.get("gate", "it was never held to it")
    if verdict != PASSED:
        raise ModelImportError(f"model {name!r} version {version.version} did not pass the gate: {verdict}")
    with tempfile.TemporaryDirectory() as folder:
        registered = registry.download(version, Path(folder))
    compiled = _compile(registered)
    # Of what was registered, not of the compiled bytes: compiling twice need not give the same ones.
    identity = f"{version.tags['contract_sha256']} {version.tags['model_sha256']} {compiled.runtime}"
    tag = f"{name}:v{version.version}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    _store(tag, registered, compiled)
    _pin(artefacts.model_tag, tag)
    return Imported(tag, compiled.runtime, compiled.comparison, compiled.reason)


@dataclass(frozen=True)
class _Compiled:
    """onnx: None where the pipeline cannot be expressed in it."""

    onnx: bytes | None
    comparison: onnx_model.Comparison | None
    reason: str = ""

    @property
    def runtime(self) -> str:
        return "sklearn" if self.onnx is None else "onnx"


def _compile(registered: RegisteredModel) -> _Compiled:
    contract = registered.contract
    try:
        model = onnx_model.compile_to_onnx(registered.pipeline, len(contract.inputs))
    except ModelImportError as cannot:
        return _Compiled(None, None, str(cannot))
    comparison = onnx_model.compare(
        registered.pipeline, model, registered.test_set[contract.feature_names], contract.threshold.value
    )
    if not comparison.largest_difference <= onnx_model.MAX_DIFFERENCE or comparison.changed_decisions:  # NaN is over
        raise ModelImportError(
            f"ONNX and scikit-learn disagree on the {comparison.rows} test rows: largest difference "
            f"{comparison.largest_difference:.1e} (allowed {onnx_model.MAX_DIFFERENCE:.0e}), "
            f"{comparison.changed_decisions} changed decisions"
        )
    return _Compiled(model, comparison)


def _store(tag: str, registered: RegisteredModel, compiled: _Compiled) -> None:
    served_file = MODEL_FILES[compiled.runtime]
    if _is_stored_whole(tag, served_file):
        return
    version = registered.version
    # The pipeline goes in beside ONNX too: predictions are explained with it.
    files = {"contract.json": registered.contract_document, PIPELINE_FILE: registered.pipeline_document}
    if compiled.onnx is not None:
        files[served_file] = compiled.onnx
    with bentoml.models.create(
        tag,
        module="training.bento_import",
        labels={
            "mlflow_version": str(version.version),
            "mlflow_run_id": version.run_id,
            "runtime": compiled.runtime,
        },
        metadata={
            **_digests(files, served_file),
            "mlflow_model": version.name,
            "mlflow_model_sha256": version.tags["model_sha256"],
            "git_commit": version.tags.get("git_commit", "unknown"),
            "comparison": asdict(compiled.comparison) if compiled.comparison else {},
        },
    ) as stored:
        for name, content in files.items():
            (Path(stored.path) / name).write_bytes(content)


def _digests(files: Mapping[str, bytes], served_file: str) -> dict[str, str]:
    """What the service holds the files against: the contract, the file it scores with, the pipeline."""
    return {
        "contract_sha256": content_sha256(files["contract.json"]),
        "file_sha256": hashlib.sha256(files[served_file]).hexdigest(),
        "pipeline_sha256": hashlib.sha256(files[PIPELINE_FILE]).hexdigest(),
    }


def _is_stored_whole(tag: str, served_file: str) -> bool:
    """True if the store has this tag as it would be imported now; a damaged or older one is removed to be replaced."""
    try:
        stored = bentoml.models.get(tag)
    except NotFound:
        return False
    folder = Path(stored.path)
    try:
        names = ("contract.json", served_file, PIPELINE_FILE)
        found = _digests({name: (folder / name).read_bytes() for name in names}, served_file)
    except (OSError, ValueError):
        pass
    else:
        if all(stored.info.metadata.get(key) == value for key, value in found.items()):
            return True
    bentoml.models.delete(tag)
    return False


def _pin(file: Path, tag: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    partial.write_text(tag + "\n")
    partial.replace(file)
