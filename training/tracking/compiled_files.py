"""Keeps the compiled models of a run beside it, each file named by its sha256.

They are kept because compiling twice may give different bytes, and a rollback must restore the same bytes.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Final

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from training.errors import ModelImportError

COMPILED_PATH: Final = "compiled"
"""Artifact folder of a run."""

COMPILED_SHA256: Final = "compiled_sha256"
"""Tag of a version: digest of its compiled model."""


def keep(client: MlflowClient, version: ModelVersion, compiled: bytes) -> None:
    """Log a compiled model to the version's run, and tag the version with its digest."""
    digest = hashlib.sha256(compiled).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{digest}.onnx"
        file.write_bytes(compiled)
        client.log_artifact(str(version.run_id), str(file), COMPILED_PATH)
    client.set_model_version_tag(version.name, version.version, COMPILED_SHA256, digest)


def kept(version: ModelVersion, digest: str) -> bytes:
    """Read a compiled model of the version's run.

    Raises:
        ModelImportError: it is missing, or was altered.
    """
    what = f"model {version.name!r} version {version.version}: {COMPILED_PATH}/{digest}.onnx"
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = mlflow.artifacts.download_artifacts(
                f"runs:/{version.run_id}/{COMPILED_PATH}/{digest}.onnx", dst_path=folder
            )
            compiled = Path(file).read_bytes()
        except (MlflowException, OSError):
            raise ModelImportError(f"{what} is missing") from None
    if hashlib.sha256(compiled).hexdigest() != digest:
        raise ModelImportError(f"{what} was altered since")
    return compiled
