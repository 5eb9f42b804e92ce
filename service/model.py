"""The model that is served: its files from the BentoML model store, verified, and its contract."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract import ContractError, ModelContract, content_sha256
from contract.artefacts import MODEL_FILES
from contract.trusted_types import TRUSTED_TYPES
from service.errors import StartupError


class Scorer(Protocol):
    """A compiled model: float32 (n, k) in contract order → positive-class probability, float32 (n,)."""

    def __call__(self, matrix: NDArray[np.float32], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class ServedModel:
    """One model version, ready to score.

    tag: in the BentoML model store.
    role: which part it plays here.
    contract_sha256: hash of the contract as it was registered, whatever members this code knows beyond it.
    """

    tag: str
    role: str
    contract: ModelContract
    contract_sha256: str
    score: Scorer

    @property
    def identity(self) -> dict[str, str]:
        """What every response says about the model that answered."""
        return {"name": self.contract.model_name, "version": self.contract.model_version, "role": self.role}


def load_model(
    tag: str, folder: Path, labels: Mapping[str, str], metadata: Mapping[str, Any], role: str
) -> ServedModel:
    """Load what `make import-model` stored under `tag`. Nothing is unpickled.

    Args:
        folder: the model's folder in the store.
        labels, metadata: as stored beside it.

    Raises:
        StartupError: a file is missing, or is not what was imported.
    """
    try:
        document = (folder / "contract.json").read_bytes()
        contract = ModelContract.from_json(document)
    except (OSError, ContractError) as error:
        raise StartupError(f"model {tag}: {error}") from None
    runtime = labels.get("runtime", "")
    file = folder / MODEL_FILES.get(runtime, "unknown")
    try:
        model = file.read_bytes()
    except OSError:
        raise StartupError(f"model {tag}: {file.name} is missing (runtime {runtime!r}); import it again") from None
    contract_sha256 = content_sha256(document)
    _check(tag, "contract.json", metadata.get("contract_sha256"), contract_sha256)
    _check(tag, file.name, metadata.get("file_sha256"), hashlib.sha256(model).hexdigest())
    try:
        score = _onnx_scorer(model) if runtime == "onnx" else _sklearn_scorer(model, contract.feature_names)
    except Exception as error:  # onnxruntime, zipfile and skops each raise their own for "this is no model"
        raise StartupError(f"model {tag}: {file.name} cannot be loaded: {str(error).splitlines()[0]}") from error
    return ServedModel(tag=tag, role=role, contract=contract, contract_sha256=contract_sha256, score=score)


def _check(tag: str, file: str, imported: object, found: str) -> None:
    if imported != found:
        raise StartupError(f"model {tag}: {file} was altered since it was imported; import it again")


def _onnx_scorer(model: bytes) -> Scorer:
    options = onnxruntime.SessionOptions()
    # One row takes microseconds; handing it to a thread pool would cost more than it.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    output = session.get_outputs()[1].name

    def score(matrix: NDArray[np.float32], /) -> NDArray[np.float32]:
        (both,) = session.run([output], {name: matrix})
        return np.asarray(both[:, 1], dtype=np.float32)

    return score


def _sklearn_scorer(model: bytes, names: list[str]) -> Scorer:
    import pandas as pd
    import skops.io

    foreign = set(skops.io.get_untrusted_types(data=model)) - TRUSTED_TYPES
    if foreign:
        raise ValueError(f"it holds types that are not on the allow-list: {', '.join(sorted(foreign))}")
    pipeline = skops.io.loads(model, trusted=sorted(TRUSTED_TYPES))

    def score(matrix: NDArray[np.float32], /) -> NDArray[np.float32]:
        probability = pipeline.predict_proba(pd.DataFrame(matrix, columns=names))[:, 1]
        return np.asarray(probability, dtype=np.float32)

    return score
