"""Loads a model that was imported into the BentoML model store: its verified files and its contract."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from artefacts.model_record import CONTRACT_FILE, MODEL_FILES, PIPELINE_FILE, ModelRecord
from contract import ContractError, ModelContract, content_sha256
from scoring.errors import MissingFileError, ModelError, UnreadableFileError
from scoring.models.model_frame import CodedColumns
from scoring.models.onnx_scorer import onnx_scorer
from scoring.models.other_inputs import row_without_values
from scoring.models.stored_pipeline import read_pipeline
from scoring.models.task_models import Scorer, task_model
from scoring.task_outputs import task_outputs

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class PackedScorer:
    """A model's scoring file, to send to another process, which verifies it before loading.

    sha256: of the imported file.
    """

    tag: str
    runtime: str
    contract: ModelContract
    sha256: str
    content: bytes

    def open(self) -> Scorer:
        """Verify and load the file. Nothing is unpickled.

        Raises:
            ModelError: the file was altered since the import, or is not a model.
        """
        name = MODEL_FILES[self.runtime]
        _check(self.tag, name, self.sha256, hashlib.sha256(self.content).hexdigest())
        try:
            if self.runtime == "onnx":
                score = onnx_scorer(self.content, self.contract.task, len(self.contract.inputs))
            else:
                score = _sklearn_scorer(self.content, self.contract)
            _check_width(score, self.contract)
        except Exception as error:  # onnxruntime, zipfile and skops have no common class for "not a model"
            raise ModelError(_cannot_be_loaded(self.tag, name, error)) from error
        return score


@dataclass(frozen=True)
class ImportedModel:
    """One model version, ready to score.

    tag: in the BentoML model store.
    role: champion or challenger, on this machine.
    contract_sha256: hash of the registered contract document.
    folder: the model's folder in the store.
    runtime: key of `MODEL_FILES`.
    file_sha256: of the scoring file.
    pipeline_sha256: of the pipeline's file; None for imports older than stored pipelines.
    reason: why scikit-learn serves it; empty if ONNX does, and for imports older than stored reasons.
    without_pipeline: it was registered as ONNX.
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
    without_pipeline: bool = False

    @property
    def identity(self) -> dict[str, str]:
        """Name, version and role, as in every response."""
        return {"name": self.contract.model_name, "version": self.contract.model_version, "role": self.role}

    @property
    def runtime_name(self) -> str:
        """What scores it, as people call it."""
        return {"sklearn": "scikit-learn"}.get(self.runtime, self.runtime)

    def packed(self) -> PackedScorer:
        """Read and verify the scoring file again, to send it to processes on other machines.

        Raises:
            ModelError: it is missing, or was altered since the import.
        """
        content = _verified(self.tag, self.folder / MODEL_FILES[self.runtime], self.file_sha256)
        return PackedScorer(self.tag, self.runtime, self.contract, self.file_sha256, content)

    def load_pipeline(self) -> "Pipeline":
        """Read, verify and build the scikit-learn pipeline, anew on each call. Nothing is unpickled.

        The first call takes seconds, because skops imports all of scikit-learn: call it in a thread.

        Raises:
            MissingFileError, UnreadableFileError: the file, or a library, cannot be read now; a retry can help.
            ModelError: there is none, it was altered since the import, or holds a type that is not allowed.
        """
        if self.without_pipeline:
            raise ModelError("this model came as ONNX without a pipeline; it has no exact explanation")
        if self.pipeline_sha256 is None:
            raise ModelError(f"model {self.tag} was imported without its pipeline; run `make import-model`")
        document = _verified(self.tag, self.folder / PIPELINE_FILE, self.pipeline_sha256)
        try:
            return read_pipeline(document, self.contract.trusted_types)
        except (OSError, ImportError, MemoryError) as error:  # from the libraries, not from the file's content
            raise UnreadableFileError(_cannot_be_loaded(self.tag, PIPELINE_FILE, error)) from error
        except Exception as error:  # as in `PackedScorer.open`
            raise ModelError(_cannot_be_loaded(self.tag, PIPELINE_FILE, error)) from error


def load_model(
    tag: str, folder: Path, labels: Mapping[str, str], metadata: Mapping[str, Any], role: str
) -> ImportedModel:
    """Load the model that `make import-model` stored under `tag`. Nothing is unpickled.

    The pipeline's file is only verified, so that an altered one is refused now; the first explanation loads it.

    Args:
        folder: the model's folder in the store.
        labels, metadata: of the model in the store.

    Raises:
        ModelError: a file is missing, or was altered since the import.
    """
    try:
        document = (folder / CONTRACT_FILE).read_bytes()
        contract = ModelContract.from_json(document)
    except (OSError, ContractError) as error:
        raise ModelError(f"model {tag}: {error}") from None
    contract_sha256 = content_sha256(document)
    record = ModelRecord.read(labels, metadata)
    runtime = record.runtime
    _check(tag, CONTRACT_FILE, record.contract_sha256, contract_sha256)
    if runtime not in MODEL_FILES:
        raise ModelError(f"model {tag}: runtime {runtime!r} is unknown; run `make import-model`")
    file_sha256 = str(record.file_sha256)
    model = _verified(tag, folder / MODEL_FILES[runtime], file_sha256)
    if record.pipeline_sha256 is not None:
        _verified(tag, folder / PIPELINE_FILE, record.pipeline_sha256)
    return ImportedModel(
        tag=tag,
        role=role,
        contract=contract,
        contract_sha256=contract_sha256,
        score=PackedScorer(tag, runtime, contract, file_sha256, model).open(),
        folder=folder,
        runtime=runtime,
        file_sha256=file_sha256,
        pipeline_sha256=record.pipeline_sha256,
        reason=record.reason,
        without_pipeline=record.without_pipeline,
    )


def _check_width(score: Scorer, contract: ModelContract) -> None:
    """Score one row of the contract's width, so that a model with other inputs or outputs is refused."""
    width = task_outputs(contract).score_width
    if score(row_without_values(contract)).shape != ((1,) if width is None else (1, width)):
        raise ModelError("it does not answer one row by the scores of one row")


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
    names = contract.feature_names
    coded = CodedColumns.of(contract.inputs)
    pipeline = read_pipeline(model, contract.trusted_types)
    own = task_model(contract.task)
    own.check_pipeline(pipeline)
    probe = coded.frame(row_without_values(contract), names)
    own.check_outputs([own.answered_by(pipeline, probe)], len(probe))

    def score(matrix: NDArray[np.float32], /) -> NDArray[np.float32]:
        answered = np.asarray(own.answered_by(pipeline, coded.frame(matrix, names)))
        return np.asarray(own.scores(answered), dtype=np.float32)

    return score
