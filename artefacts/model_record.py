"""What the BentoML model store holds of an imported model: its files, and the labels and metadata beside them.

The import in training writes it, the planes that score read it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from contract import content_sha256

CONTRACT_FILE = "contract.json"
MODEL_FILES = {"onnx": "model.onnx", "sklearn": "model.skops"}
"""Runtime → the scoring file, beside the contract."""
PIPELINE_FILE = MODEL_FILES["sklearn"]
"""The scikit-learn pipeline. It is stored for every runtime, because predictions are explained with it. A model that
was registered as ONNX has none."""

FILE_SHA256 = "file_sha256"
"""Key of the scoring file's digest, also in entries of the ledger."""


@dataclass(frozen=True)
class ModelDigests:
    """sha256 of what the scoring planes verify. Field names are the keys in the metadata.

    contract_sha256: `contract.content_sha256` of the contract document.
    file_sha256: of the scoring file.
    pipeline_sha256: of the pipeline's file; None if the model has none.
    """

    contract_sha256: str
    file_sha256: str
    pipeline_sha256: str | None

    @classmethod
    def of(cls, files: Mapping[str, bytes], runtime: str) -> "ModelDigests":
        """Digests of the files by name, as in the model store."""
        return cls(
            content_sha256(files[CONTRACT_FILE]),
            hashlib.sha256(files[MODEL_FILES[runtime]]).hexdigest(),
            hashlib.sha256(files[PIPELINE_FILE]).hexdigest() if PIPELINE_FILE in files else None,
        )

    def to_dict(self) -> dict[str, str]:
        """As in the metadata, and in entries of the ledger; without those that are None."""
        return {name: digest for name, digest in asdict(self).items() if digest is not None}


@dataclass(frozen=True)
class ModelRecord:
    """Labels and metadata of a stored model. Field names are their keys. None or empty: the store does not say.

    mlflow_version, mlflow_run_id, runtime: labels; the runtime is a key of `MODEL_FILES`.
    contract_sha256, file_sha256, pipeline_sha256: see `ModelDigests`. Older imports have no pipeline.
    mlflow_model, mlflow_model_sha256: the registered model's name, and the digest of its pipeline.
    comparison: how ONNX and scikit-learn compared; empty without ONNX.
    reason: why scikit-learn serves the model; empty if ONNX does.
    without_pipeline: the model was registered as ONNX. Not in the metadata if False.
    """

    mlflow_version: str
    mlflow_run_id: str
    runtime: str
    contract_sha256: str | None
    file_sha256: str | None
    pipeline_sha256: str | None
    mlflow_model: str = ""
    mlflow_model_sha256: str = ""
    git_commit: str = ""
    comparison: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    without_pipeline: bool = False

    @classmethod
    def read(cls, labels: Mapping[str, str], metadata: Mapping[str, Any]) -> "ModelRecord":
        """From what the store says; members that other versions of this code added are ignored."""
        return cls(
            mlflow_version=labels.get("mlflow_version", ""),
            mlflow_run_id=labels.get("mlflow_run_id", ""),
            runtime=labels.get("runtime", ""),
            contract_sha256=metadata.get("contract_sha256"),
            file_sha256=metadata.get(FILE_SHA256),
            pipeline_sha256=metadata.get("pipeline_sha256"),
            mlflow_model=str(metadata.get("mlflow_model", "")),
            mlflow_model_sha256=str(metadata.get("mlflow_model_sha256", "")),
            git_commit=str(metadata.get("git_commit", "")),
            comparison=metadata.get("comparison", {}),
            reason=str(metadata.get("reason", "")),
            without_pipeline=metadata.get("without_pipeline") is True,
        )

    @property
    def labels(self) -> dict[str, str]:
        """What the model store shows in lists."""
        return {name: getattr(self, name) for name in _LABELS}

    @property
    def metadata(self) -> dict[str, Any]:
        """What the model store shows of one model."""
        absent = "pipeline_sha256" if self.without_pipeline else "without_pipeline"
        return {name: value for name, value in asdict(self).items() if name not in (*_LABELS, absent)}


_LABELS = ("mlflow_version", "mlflow_run_id", "runtime")
