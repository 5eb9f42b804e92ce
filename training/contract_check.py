"""Checks a feature registry against the contracts of all live models, before it becomes the live registry."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from contract import ContractError, ModelContract, differences
from training.data.feature_service import open_feature_service
from training.errors import BrokenPromisesError, DatasetError, TrainingError
from training.tracking import registry
from training.tracking.registry import CHALLENGER, CHAMPION


@dataclass(frozen=True)
class LiveContract:
    """The contract of a live model, and its owner for messages."""

    owner: str
    contract: ModelContract


def registered_contracts(client: MlflowClient, name: str) -> list[LiveContract]:
    """The contracts of the champion and, if there is one, the challenger.

    Raises:
        TrainingError: there is no champion, or a version was altered since it was registered.
    """
    found = []
    for alias in (CHAMPION, CHALLENGER):
        if alias == CHALLENGER and alias not in registry.aliases_of(client, name):
            continue
        version = registry.version_of(client, name, alias)
        with tempfile.TemporaryDirectory() as folder:
            contract = registry.download(version, Path(folder)).contract
        found.append(LiveContract(f"{name} version {version.version} ({alias})", contract))
    return found


def read_contract_file(file: Path) -> LiveContract:
    """Read a contract from a file: a model's `contract.json`, or an answer of `GET /model`.

    Raises:
        TrainingError: the file holds no contract; it is named.
    """
    try:
        document = json.loads(file.read_bytes())
        if isinstance(document, dict) and "contract" in document:
            document = document["contract"]
        contract = ModelContract.from_json(json.dumps(document))
    except OSError as error:
        raise TrainingError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, ContractError) as error:
        raise TrainingError(f"{file}: not a model contract: {error}") from None
    return LiveContract(f"{contract.model_name} version {contract.model_version} ({file})", contract)


def check_contracts(artefacts: Artefacts, live: Sequence[LiveContract]) -> None:
    """Check contracts against the registry of `artefacts`.

    Raises:
        BrokenPromisesError: the registry breaks some; one line per difference.
    """
    broken = [f"{each.owner}: {found}" for each in live for found in _broken(artefacts, each.contract)]
    if broken:
        raise BrokenPromisesError("live models were promised other features:\n  " + "\n  ".join(broken))


def _broken(artefacts: Artefacts, contract: ModelContract) -> list[str]:
    try:
        return differences(contract.feature_schema, open_feature_service(artefacts, contract.feature_service).schema)
    except DatasetError:
        return [f"feature service {contract.feature_service!r} is not in the registry"]
    except ContractError as error:  # a type or tag that no contract supports
        return [str(error)]
