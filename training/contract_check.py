"""Whether a feature registry keeps what every live model was promised: asked before it becomes the live one."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from contract import ContractError, ModelContract, differences
from training.data.dataset import live_schema
from training.errors import BrokenPromisesError, DatasetError, TrainingError
from training.tracking import registry
from training.tracking.registry import CHALLENGER, CHAMPION


@dataclass(frozen=True)
class LiveContract:
    """What a model that answers somewhere was promised, and whose it is, for messages."""

    owner: str
    contract: ModelContract


def registered_contracts(client: MlflowClient, name: str) -> list[LiveContract]:
    """Those of the champion and, if there is one, of the challenger.

    Raises:
        TrainingError: there is no champion, or a version is not what was registered.
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


def contract_in(file: Path) -> LiveContract:
    """The contract in a file: `contract.json` of a model, or what `GET /model` answers.

    Raises:
        TrainingError: it holds none; the file is named.
    """
    try:
        document = json.loads(file.read_bytes())
        if isinstance(document, dict) and "contract" in document:
            document = document["contract"]
        contract = ModelContract.from_json(json.dumps(document))
    except OSError as error:
        raise TrainingError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, ContractError) as error:
        raise TrainingError(f"{file}: no model contract: {error}") from None
    return LiveContract(f"{contract.model_name} version {contract.model_version} ({file})", contract)


def check_contracts(artefacts: Artefacts, live: Sequence[LiveContract]) -> None:
    """Hold them against the registry that `artefacts` names.

    Raises:
        BrokenPromisesError: it breaks some; one line for each difference.
    """
    broken = [f"{each.owner}: {found}" for each in live for found in _broken(artefacts, each.contract)]
    if broken:
        raise BrokenPromisesError("live models were promised other features:\n  " + "\n  ".join(broken))


def _broken(artefacts: Artefacts, contract: ModelContract) -> list[str]:
    try:
        return differences(contract.feature_schema, live_schema(artefacts, contract.feature_service))
    except DatasetError:
        return [f"feature service {contract.feature_service!r} is not there"]
    except ContractError as error:  # a type or a tag that no contract can hold
        return [str(error)]
