"""Imports a registered version from MLflow into the BentoML model store: compiles, verifies and pins it."""

import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import bentoml
import numpy as np
from bentoml.exceptions import NotFound
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sklearn.pipeline import Pipeline

from artefacts.addresses import Artefacts
from artefacts.local_pin import pin, store_lock
from artefacts.model_record import CONTRACT_FILE, MODEL_FILES, PIPELINE_FILE, ModelDigests, ModelRecord
from artefacts.model_tag import model_tag
from contract import ModelContract
from scoring.agreement import unit_of
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel, load_model
from scoring.models.model_frame import CodedColumns, model_frame
from scoring.models.task_models import task_model
from scoring.task_outputs import rules_of
from training.compilation import onnx_file, onnx_model
from training.compilation.boosters import booster_in
from training.compilation.preflight import booster_refusal
from training.errors import ModelImportError, TrainingError
from training.gate.rules import refuse_unpassed
from training.tracking import compiled_files, registry
from training.tracking.registry import RegisteredModel
from training.tracking.test_rows import scores_in


@dataclass(frozen=True)
class Servable:
    """A registered version in the form in which it is served.

    runtime: `onnx`, or `sklearn` if ONNX cannot express the pipeline or scores differently.
    files: name → content, as in the model store.
    comparison: of ONNX with the pipeline, or with the scores recorded of a model that came as ONNX; None without ONNX.
    reason: why scikit-learn serves it; empty with ONNX.
    """

    registered: RegisteredModel
    runtime: str
    files: Mapping[str, bytes]
    comparison: onnx_model.OnnxComparison | None
    reason: str = ""

    def __str__(self) -> str:
        if self.comparison is None:
            return f"{self.tag}, served by scikit-learn: {self.reason}"
        if self.registered.pipeline is None:
            return f"{self.tag}, served as the ONNX file that was registered: {self.comparison.on_rows}"
        return f"{self.tag}, compiled to ONNX: {self.comparison}"

    @property
    def contract(self) -> ModelContract:
        """The model contract."""
        return self.registered.contract

    @property
    def served(self) -> bytes:
        """Content of the scoring file."""
        return self.files[MODEL_FILES[self.runtime]]

    @property
    def digests(self) -> ModelDigests:
        """Digests that the scoring planes verify."""
        return ModelDigests.of(self.files, self.runtime)

    @property
    def tag(self) -> str:
        """Tag in the model store; it stands for these bytes only."""
        return _tag(self.registered.version, self.digests)

    @property
    def identity(self) -> dict[str, str]:
        """Tag and digests, for the ledger."""
        return {"tag": self.tag, **self.digests.to_dict()}

    @property
    def record(self) -> ModelRecord:
        """Labels and metadata for the model store."""
        version = self.registered.version
        return ModelRecord(
            mlflow_version=str(version.version),
            mlflow_run_id=str(version.run_id),
            runtime=self.runtime,
            **asdict(self.digests),
            mlflow_model=version.name,
            mlflow_model_sha256=version.tags["model_sha256"],
            git_commit=version.tags.get("git_commit", "unknown"),
            comparison=self.comparison.to_dict() if self.comparison else {},
            reason=self.reason,
            without_pipeline=self.registered.pipeline is None,
        )

    def write(self, folder: Path) -> None:
        """Write its files into a folder."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)

    def load(self, folder: Path) -> ImportedModel:
        """Write it into a folder and load it from there, as the service does."""
        self.write(folder)
        record = self.record
        return load_model(self.tag, folder, record.labels, record.metadata, role="candidate")


def import_model(artefacts: Artefacts, name: str, alias_or_version: str, tracking_uri: str) -> Servable:
    """Import one version and pin its tag in `artefacts.model_tag`, which the service reads.

    Importing a version again gives the same tag and changes nothing.

    Raises:
        TrainingError: no such version or alias.
        ModelImportError: it did not pass the gate, an artifact is missing or altered, it cannot be served, or the alias
            was moved meanwhile.
    """
    client = registry.open_registry(tracking_uri, name)
    version = registry.version_of(client, name, alias_or_version)
    refuse_unpassed(version)
    servable = prepare(client, version)
    store(artefacts, servable)
    with store_lock(artefacts):
        if registry.version_of(client, name, alias_or_version).version != version.version:
            raise ModelImportError(f"alias {alias_or_version!r} of {name!r} was moved meanwhile; run again")
        pin(artefacts, servable.tag)
    return servable


def prepare(client: MlflowClient, version: ModelVersion, served_sha256: str | None = None) -> Servable:
    """Download and verify a version, compile it to ONNX, and compare ONNX with the pipeline on the test rows.

    The version's tag `registry.BENTOML_TAG` then names it in the model store.

    A compiled model that the run already keeps is used again. If ONNX cannot express the pipeline, or scores
    differently, scikit-learn serves the version. A version that was registered as ONNX has no pipeline: it is compared
    with the scores in its test rows.

    Args:
        served_sha256: digest of the scoring file, if only this file will do.

    Raises:
        ModelImportError: an artifact is missing or altered; the model is not of the contract's task or classes; ONNX
            cannot express a booster, which scikit-learn may not serve; or required file and pipeline, or a registered
            ONNX file and its recorded scores, differ.
    """
    servable = _prepared(client, version, served_sha256)
    if version.tags.get(registry.BENTOML_TAG) != servable.tag:
        with suppress(MlflowException):  # who may only read the registry may import, too
            client.set_model_version_tag(version.name, version.version, registry.BENTOML_TAG, servable.tag)
    return servable


def _prepared(client: MlflowClient, version: ModelVersion, served_sha256: str | None) -> Servable:
    with tempfile.TemporaryDirectory() as folder:
        registered = registry.download(version, Path(folder))
    pipeline = registered.pipeline
    if pipeline is None:
        return _as_registered(registered, served_sha256)
    # The pipeline is stored beside ONNX, too: explanations need it.
    files = {CONTRACT_FILE: registered.contract_document, PIPELINE_FILE: registered.model_document}
    if served_sha256 == hashlib.sha256(registered.model_document).hexdigest():
        return _by_scikit_learn(registered, pipeline, files, "as it was when it was promoted")
    _check_task(registered, pipeline)
    kept = served_sha256 or version.tags.get(compiled_files.COMPILED_SHA256)
    if kept:
        compiled = compiled_files.kept(version, kept)
        comparison = _compared(registered, pipeline, compiled)
        if comparison.equal:
            return Servable(registered, "onnx", {**files, MODEL_FILES["onnx"]: compiled}, comparison)
        if served_sha256:
            raise ModelImportError(
                f"model {version.name!r} version {version.version}: what it was compiled to answers otherwise than its "
                f"pipeline: {comparison}; `make promote VERSION={version.version}` compiles it anew"
            )
    try:
        inputs = registered.contract.inputs
        coded = CodedColumns.of(inputs)
        compiled = onnx_model.compile_to_onnx(pipeline, len(inputs), registered.contract.task, coded)
        comparison = _compared(registered, pipeline, compiled)
    except ModelImportError as cannot:
        return _by_scikit_learn(registered, pipeline, files, str(cannot))
    if not comparison.equal:
        said = f"ONNX answers otherwise (allowed {onnx_model.MAX_DIFFERENCE:.0e}): {comparison}"
        return _by_scikit_learn(registered, pipeline, files, said)
    compiled_files.keep(client, version, compiled)
    return Servable(registered, "onnx", {**files, MODEL_FILES["onnx"]: compiled}, comparison)


def _as_registered(registered: RegisteredModel, served_sha256: str | None) -> Servable:
    """Check an ONNX file that was registered, and compare it with the scores that were recorded of it."""
    document, contract, version = registered.model_document, registered.contract, registered.version
    what = f"model {version.name!r} version {version.version}"
    if served_sha256 not in (None, hashlib.sha256(document).hexdigest()):
        raise ModelImportError(f"{what}: its ONNX file is not the one that was served")
    try:
        onnx_file.check(document, contract.task, len(contract.inputs))
        rows, width = registered.test_set, rules_of(contract.task).score_width
        recorded = scores_in(rows, width)
        comparison = onnx_model.compare_recorded(
            document, rows[contract.feature_names], recorded, contract.task, unit_of(contract)
        )
    except (ModelError, TrainingError) as error:
        raise ModelImportError(f"{what}: {error}") from None
    if not comparison.equal:
        raise ModelImportError(
            f"{what}: its ONNX file answers otherwise than its recorded scores "
            f"(allowed {onnx_model.MAX_DIFFERENCE:.0e}): {comparison.on_rows}"
        )
    files = {CONTRACT_FILE: registered.contract_document, MODEL_FILES["onnx"]: document}
    return Servable(registered, "onnx", files, comparison)


def _by_scikit_learn(
    registered: RegisteredModel, pipeline: Pipeline, files: Mapping[str, bytes], reason: str
) -> Servable:
    if library := booster_in(pipeline):
        version = registered.version
        raise ModelImportError(f"model {version.name!r} version {version.version}: {booster_refusal(library, reason)}")
    return Servable(registered, "sklearn", files, None, reason)


def _check_task(registered: RegisteredModel, pipeline: Pipeline) -> None:
    contract, version = registered.contract, registered.version
    rows = model_frame(contract.inputs, registered.test_set[contract.feature_names].head(2).to_numpy(dtype=np.float32))
    try:
        own = task_model(contract.task)
        own.check_pipeline(pipeline)
        own.check_outputs([own.answered_by(pipeline, rows)], len(rows))
    except ModelError as error:
        raise ModelImportError(f"model {version.name!r} version {version.version}: {error}") from None


def _compared(registered: RegisteredModel, pipeline: Pipeline, compiled: bytes) -> onnx_model.OnnxComparison:
    contract = registered.contract
    rows, coded = registered.test_set[contract.feature_names], CodedColumns.of(contract.inputs)
    return onnx_model.compare(pipeline, compiled, rows, contract.task, coded=coded, unit=unit_of(contract))


def store(artefacts: Artefacts, servable: Servable) -> None:
    """Store a model in the BentoML model store, unless an intact copy is there.

    Raises:
        ModelImportError: the store cannot be written.
    """
    with store_lock(artefacts):  # BentoML lists a model before it is completely written
        if _is_stored_whole(servable):
            return
        record = servable.record
        try:
            with bentoml.models.create(
                servable.tag,
                module="training.bento_import",
                labels=record.labels,
                metadata=record.metadata,
            ) as stored:
                servable.write(Path(stored.path))
        except OSError as error:
            raise ModelImportError(f"the BentoML model store cannot be written: {error.strerror}") from None


def stored(version: ModelVersion, tag: str) -> dict[str, str] | None:
    """Tag and digests of the stored model, if it is intact and this registered version; else None."""
    try:
        digests = _stored_digests(tag)
    except Exception:  # bentoml, yaml and json raise their own errors for what a killed import left
        return None
    return {"tag": tag, **digests.to_dict()} if digests and _tag(version, digests) == tag else None


def _is_stored_whole(servable: Servable) -> bool:
    """True if the store has this model intact. A damaged copy is deleted, so that it can be replaced."""
    try:
        if _stored_digests(servable.tag) == servable.digests:
            return True
    except NotFound:
        return False
    except Exception:  # noqa: S110  # as above
        pass
    bentoml.models.delete(servable.tag)
    return False


def _stored_digests(tag: str) -> ModelDigests | None:
    """Digests of the files in the store; None if they are not those that the store records."""
    found = bentoml.models.get(tag)
    record = ModelRecord.read(found.info.labels, found.info.metadata)
    pipeline = () if record.without_pipeline else (PIPELINE_FILE,)
    names = (CONTRACT_FILE, *pipeline, MODEL_FILES[record.runtime])
    digests = ModelDigests.of({name: (Path(found.path) / name).read_bytes() for name in names}, record.runtime)
    recorded = (record.contract_sha256, record.file_sha256, record.pipeline_sha256)
    return digests if recorded == (digests.contract_sha256, digests.file_sha256, digests.pipeline_sha256) else None


def _tag(version: ModelVersion, digests: ModelDigests) -> str:
    contents = (version.tags["contract_sha256"], version.tags["model_sha256"], digests.file_sha256)
    return model_tag(version.name, str(version.version), *contents)
