"""One model version in the MLflow registry: the model, the contract beside it, and the digest of both."""

import hashlib
import logging
import os
import re
import sqlite3
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mlflow
import mlflow.sklearn
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES, SQLITE
from mlflow.tracking import MlflowClient
from sklearn.pipeline import Pipeline
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError  # which mlflow lets through

from artefacts.model_record import PIPELINE_FILE
from artefacts.process.file_locks import locked
from artefacts.process.redaction import redacted
from contract import ContractError, ModelContract, content_sha256
from scoring.errors import ModelError
from scoring.models.stored_pipeline import read_pipeline
from scoring.models.task_models import task_model
from training.errors import ModelImportError, TrainingError
from training.tracking.model_form import MLMODEL_FILE, REGISTERED_META, refuse_foreign_code
from training.tracking.moved_artifacts import follow_moved_database
from training.tracking.redirections import ignore_redirections, take_out_redirections
from training.tracking.test_rows import refuse_other_codes

_LOG = logging.getLogger(__name__)

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
CONTRACT_PATH = "contract/contract.json"
TEST_SET_PATH = "test/test_set.parquet"
MLMODEL_SHA256 = "mlmodel_sha256"
"""Tag of a version: sha256 of its `MLmodel`."""

LABEL_DAYS = "label_days"
"""Tag of a version, and parameter of its run: length in days of the label's window."""

FEATURE_SERVICE = "feast.feature_service"
"""Tag of a run and its version: name of the feature service. Feast's `store.mlflow.resolve_features` reads it."""

BENTOML_TAG = "bentoml.tag"
"""Tag of a version: its tag in the BentoML model store, on every machine that imports it."""

FEATURES_SHA256 = "features_sha256"
"""Tag of a version: what the features were built from that it was trained on, see `feature_service.built_from`."""


@dataclass(frozen=True)
class RegisteredModel:
    """A registered version, downloaded and verified.

    pipeline: None if it was registered as ONNX.
    model_document, contract_document: the files as they were written, for others to check against their hashes; the
        model's is the pipeline's, or else the ONNX file.
    """

    version: ModelVersion
    pipeline: Pipeline | None
    model_document: bytes
    contract: ModelContract
    contract_document: bytes
    test_set: pd.DataFrame


def open_registry(uri: str, experiment: str) -> MlflowClient:
    """Point MLflow at its registry and the experiment, and create them if needed.

    With SQLite, artifacts lie beside the database, also after both were moved or copied. A server decides for itself.

    Raises:
        TrainingError: it cannot be reached or read.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # our own messages report progress
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    ignore_redirections()
    database = None
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
        database.parent.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        # MLflow makes the tables one by one: another process would find some of them.
        with _lock(database) if database and os.access(database.parent, os.W_OK) else nullcontext():
            client = _opened(uri, experiment, database)
    # The last two come from the URL or its driver.
    except (MlflowException, SQLAlchemyError, sqlite3.Error, ImportError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TrainingError(f"the MLflow registry at {redacted(uri)} cannot be opened: {redacted(said)}") from None
    finally:
        take_out_redirections()
    return client


def _lock(database: Path) -> AbstractContextManager[None]:
    return locked(database.with_name(f"{database.name}.lock"))


def _opened(uri: str, experiment: str, database: Path | None) -> MlflowClient:
    _ask_database(uri)
    location = None
    if database is not None:
        location = (database.parent / "artifacts").resolve().as_uri()
        if before := follow_moved_database(database, experiment):
            _LOG.info(f"MLflow's artifacts were in {before} when they were written; here they are beside {database}")
    client = MlflowClient(uri, uri)
    if client.get_experiment_by_name(experiment) is None:
        client.create_experiment(experiment, artifact_location=location)
    mlflow.set_experiment(experiment)
    return client


def _ask_database(uri: str) -> None:
    """Connect once to a database that is a server: MLflow tries ten times, for 100 s, and prints each failure.

    Raises:
        SQLAlchemyError, ImportError, ValueError: it cannot be reached.
    """
    engine = uri.partition(":")[0].partition("+")[0]
    if engine in DATABASE_ENGINES and engine != SQLITE:
        connecting = create_engine(uri)
        try:
            connecting.connect().close()
        finally:
            connecting.dispose()


def version_of(client: MlflowClient, name: str, alias_or_version: str) -> ModelVersion:
    """Find a version by number or alias.

    Raises:
        TrainingError: there is no such version, or the alias points nowhere.
    """
    numbered = re.fullmatch(r"\d+", alias_or_version) is not None
    number = alias_or_version if numbered else aliases_of(client, name).get(alias_or_version)
    if number is None:
        hints = {CHALLENGER: "`make retrain` makes one, or name a VERSION", CHAMPION: "run `make train` first"}
        hint = hints.get(alias_or_version, "`make models` lists aliases and versions")
        raise TrainingError(f"model {name!r} has no alias {alias_or_version!r}; {hint}")
    try:
        return client.get_model_version(name, number)
    except MlflowException:
        if numbered:
            raise TrainingError(f"model {name!r} has no version {number}; `make models` lists them") from None
        raise TrainingError(
            f"alias {alias_or_version!r} of model {name!r} points to version {number}, which is not there"
        ) from None


def aliases_of(client: MlflowClient, name: str) -> dict[str, str]:
    """Alias → version number; empty while nothing is registered."""
    try:
        aliases: dict[str, str] = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise TrainingError(f"model {name!r} cannot be read: {str(error).splitlines()[0]}") from None
        return {}
    return {alias: str(version) for alias, version in aliases.items()}


def versions_of(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions, newest first."""
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version), reverse=True)


def contract_of(version: ModelVersion) -> ModelContract:
    """The contract of a version, verified.

    Raises:
        ModelImportError: it is missing or altered.
    """
    what = f"model {version.name!r} version {version.version}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = mlflow.artifacts.download_artifacts(f"runs:/{version.run_id}/{CONTRACT_PATH}", dst_path=folder)
            document = Path(file).read_bytes()
        except (MlflowException, OSError) as error:
            raise ModelImportError(f"{what}: its contract is missing ({str(error).splitlines()[0]})") from None
    if (found := content_sha256(document)) != version.tags.get("contract_sha256"):
        raise ModelImportError(f"{what}: the contract's sha256 is {found}, not what was registered")
    try:
        return ModelContract.from_json(document)
    except ContractError as error:
        raise ModelImportError(f"{what}: {error}") from None


def download(version: ModelVersion, folder: Path) -> RegisteredModel:
    """Download a version with everything stored beside it, and verify all of it.

    Raises:
        ModelImportError: a part is missing, was altered after registration, or holds a type that is not allowed.
    """
    what = f"model {version.name!r} version {version.version}"
    try:
        model = Path(mlflow.artifacts.download_artifacts(version.source, dst_path=str(folder / "model")))
        artifacts = f"runs:/{version.run_id}"
        contract_file = mlflow.artifacts.download_artifacts(f"{artifacts}/{CONTRACT_PATH}", dst_path=str(folder))
        test_file = mlflow.artifacts.download_artifacts(f"{artifacts}/{TEST_SET_PATH}", dst_path=str(folder))
    except (MlflowException, OSError) as error:
        raise ModelImportError(f"{what}: an artifact is missing ({str(error).splitlines()[0]})") from None
    try:
        document = Path(contract_file).read_bytes()
        contract = ModelContract.from_json(document)
    except ContractError as error:
        raise ModelImportError(f"{what}: {error}") from None
    model_file = refuse_foreign_code(model, what, task_model(contract.task).method)
    digests = {
        "contract_sha256": content_sha256(document),
        "model_sha256": digest_of(model),
        "test_set_sha256": hashlib.sha256(Path(test_file).read_bytes()).hexdigest(),
    }
    if MLMODEL_SHA256 in version.tags:  # older versions without the tag are checked by their form alone
        digests[MLMODEL_SHA256] = hashlib.sha256((model / MLMODEL_FILE).read_bytes()).hexdigest()
    for tag, found in digests.items():
        if version.tags.get(tag) != found:
            raise ModelImportError(
                f"{what}: {tag} is {found}, {version.tags.get(tag)} was registered; it was altered since"
            )
    test_set = pd.read_parquet(test_file)
    refuse_other_codes(test_set, contract.inputs, what)
    model_document = (model / model_file).read_bytes()
    return RegisteredModel(
        version=version,
        pipeline=_load_pipeline(model_document, contract, what) if model_file == PIPELINE_FILE else None,
        model_document=model_document,
        contract=contract,
        contract_document=document,
        test_set=test_set,
    )


def digest_of(folder: Path) -> str:
    """sha256 over the names and bytes of all files of a model, except the two that MLflow writes on registering.

    `MLmodel` has its own digest, `MLMODEL_SHA256`; nothing reads the other file.
    """
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        if str(file.relative_to(folder)) in (MLMODEL_FILE, REGISTERED_META):
            continue
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _load_pipeline(document: bytes, contract: ModelContract, what: str) -> Pipeline:
    try:
        return read_pipeline(document, contract.trusted_types, boosters=True)
    except (ModelError, ContractError) as error:
        raise ModelImportError(f"{what}: {error}") from None
    except Exception as error:  # skops and zipfile each raise their own for "this is no pipeline"
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelImportError(f"{what}: {PIPELINE_FILE} cannot be loaded: {said}") from None
