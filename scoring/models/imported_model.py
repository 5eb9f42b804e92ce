"""A model as it was imported into the BentoML model store: its files, verified, and its contract."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from artefacts.addresses import MODEL_FILES, PIPELINE_FILE
from contract import ContractError, ModelContract, content_sha256
from scoring.errors import MissingFileError, ModelError, UnreadableFileError
from scoring.models.classes import check_classifier, check_probabilities
from scoring.models.onnx_scorer import Scorer, onnx_scorer
from scoring.models.stored_pipeline import read_pipeline

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class PackedScorer:
    """The file that a model scores with, to be sent to another process, which verifies it before loading it.

    sha256: of the file as it was imported.
    """

    tag: str
    runtime: str
    contract: ModelContract
    sha256: str
    content: bytes

    def open(self) -> Scorer:
        """Load it. Nothing is unpickled.

        Raises:
            ModelError: it is not what was imported, or no model.
        """
        name = MODEL_FILES[self.runtime]
        _check(self.tag, name, self.sha256, hashlib.sha256(self.content).hexdigest())
        try:
            if self.runtime == "onnx":
                score = onnx_scorer(self.content, self.contract.class_names, len(self.contract.inputs))
            else:
                score = _sklearn_scorer(self.content, self.contract)
            _check_width(score, self.contract)
        except Exception as error:  # onnxruntime, zipfile and skops each raise their own for "this is no model"
            raise ModelError(_cannot_be_loaded(self.tag, name, error)) from error
        return score


@dataclass(frozen=True)
class ImportedModel:
    """One model version, ready to score.

    tag: in the BentoML model store.
    role: which part it plays here.
    contract_sha256: hash of the contract as it was registered, whatever members this code knows beyond it.
    folder: the model's folder in the store.
    runtime: key of `MODEL_FILES`.
    file_sha256: of the file it scores with.
    pipeline_sha256: of the pipeline's file there; None if it was imported before pipelines were stored.
    reason: why scikit-learn serves it; empty if ONNX does, or if it was imported before reasons were stored.
    """

    tag: str
    role: str
    contract: ModelContract
    contract_sha256: str
    score: Scorer
    folder: Path
    runtime: str
    file_sha256: str
    pipeline_sha256: str | None
    reason: str = ""

    @property
    def identity(self) -> dict[str, str]:
        """What every response says about the model that answered."""
        return {"name": self.contract.model_name, "version": self.contract.model_version, "role": self.role}

    def packed(self) -> PackedScorer:
        """What `score` was made of, read and verified again, for processes of other machines.

        Raises:
            ModelError: it is missing, or not what was imported.
        """
        content = _verified(self.tag, self.folder / MODEL_FILES[self.runtime], self.file_sha256)
        return PackedScorer(self.tag, self.runtime, self.contract, self.file_sha256, content)

    def load_pipeline(self) -> "Pipeline":
        """The scikit-learn pipeline behind `score`, read, verified and built anew by each call. Nothing is unpickled.

        The first call takes seconds, nearly all of them to import skops, which imports all of scikit-learn: call
        it in a thread.

        Raises:
            MissingFileError, UnreadableFileError: it, or a library it needs, cannot be read now; it may be tried again.
            ModelError: it is not what was imported, or holds a type that is not allowed.
        """
        if self.pipeline_sha256 is None:
            raise ModelError(f"model {self.tag} was imported without its pipeline; run `make import-model`")
        document = _verified(self.tag, self.folder / PIPELINE_FILE, self.pipeline_sha256)
        try:
            return read_pipeline(document, self.contract.trusted_types)
        except (OSError, ImportError, MemoryError) as error:  # of the libraries that it needs, not of what it holds
            raise UnreadableFileError(_cannot_be_loaded(self.tag, PIPELINE_FILE, error)) from error
        except Exception as error:  # as in load_model
            raise ModelError(_cannot_be_loaded(self.tag, PIPELINE_FILE, error)) from error


def load_model(
    tag: str, folder: Path, labels: Mapping[str, str], metadata: Mapping[str, Any], role: str
) -> ImportedModel:
    """Load what `make import-model` stored under `tag`. Nothing is unpickled.

    The pipeline is verified now, when an altered one can still be refused, and loaded by the first explanation.

    Args:
        folder: the model's folder in the store.
        labels, metadata: as stored beside it.

    Raises:
        ModelError: a file is missing, or is not what was imported.
    """
    try:
        document = (folder / "contract.json").read_bytes()
        contract = ModelContract.from_json(document)
    except (OSError, ContractError) as error:
        raise ModelError(f"model {tag}: {error}") from None
    contract_sha256 = content_sha256(document)
    _check(tag, "contract.json", metadata.get("contract_sha256"), contract_sha256)
    runtime = labels.get("runtime", "")
    if runtime not in MODEL_FILES:
        raise ModelError(f"model {tag}: runtime {runtime!r} is unknown; run `make import-model`")
    file_sha256 = str(metadata.get("file_sha256"))
    model = _verified(tag, folder / MODEL_FILES[runtime], file_sha256)
    pipeline_sha256 = metadata.get("pipeline_sha256")
    if pipeline_sha256 is not None:
        _verified(tag, folder / PIPELINE_FILE, pipeline_sha256)
    return ImportedModel(
        tag=tag,
        role=role,
        contract=contract,
        contract_sha256=contract_sha256,
        score=PackedScorer(tag, runtime, contract, file_sha256, model).open(),
        folder=folder,
        runtime=runtime,
        file_sha256=file_sha256,
        pipeline_sha256=pipeline_sha256,
        reason=str(metadata.get("reason", "")),
    )


def _check_width(score: Scorer, contract: ModelContract) -> None:
    """Score one row as wide as the contract: a model of other inputs, or of other outputs, is not loaded."""
    defaults = np.array([[feature.default for feature in contract.inputs]], dtype=np.float32)
    if score(defaults).shape != (1,):
        raise ModelError("it does not answer one row by one probability")


def _verified(tag: str, file: Path, imported: object) -> bytes:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise MissingFileError(f"model {tag}: {file.name} is missing; run `make import-model`") from None
    except OSError as error:
        raise UnreadableFileError(f"model {tag}: {file.name} cannot be read: {error.strerror}") from None
    _check(tag, file.name, imported, hashlib.sha256(content).hexdigest())
    return content


def _check(tag: str, file: str, imported: object, found: str) -> None:
    if imported != found:
        raise ModelError(f"model {tag}: {file} was altered since it was imported; run `make import-model`")


def _cannot_be_loaded(tag: str, file: str, error: Exception) -> str:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return f"model {tag}: {file} cannot be loaded: {first_line}"


def _sklearn_scorer(model: bytes, contract: ModelContract) -> Scorer:
    import pandas as pd

    names = contract.feature_names
    pipeline = read_pipeline(model, contract.trusted_types)
    check_classifier(pipeline, contract.class_names)
    probe = pd.DataFrame([[feature.default for feature in contract.inputs]], columns=names, dtype=np.float32)
    check_probabilities(pipeline.predict_proba(probe), len(probe), contract.class_names)

    def score(matrix: NDArray[np.float32], /) -> NDArray[np.float32]:
        probability = pipeline.predict_proba(pd.DataFrame(matrix, columns=names))[:, 1]
        return np.asarray(probability, dtype=np.float32)

    return score
