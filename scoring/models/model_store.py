"""Finds and loads imported models in the BentoML model store."""

from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException, NotFound

from artefacts.addresses import Artefacts
from artefacts.local_pin import read_pin
from artefacts.model_record import CONTRACT_FILE
from artefacts.model_tag import is_exact
from contract import ContractError, ModelContract
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel, load_model


def pinned_tag(artefacts: Artefacts) -> str:
    """The pinned tag; empty if nothing was imported.

    Raises:
        ModelError: the pin file exists but cannot be read.
    """
    try:
        return read_pin(artefacts)
    except OSError as error:
        raise ModelError(f"{artefacts.model_tag} cannot be read: {error.strerror}; run `make import-model`") from None


def open_model(tag: str, role: str = "champion") -> ImportedModel:
    """Load a model from the BentoML model store.

    Args:
        tag: `name:version`; never `latest`.

    Raises:
        ModelError: the store has no such tag, or the model was altered since the import.
    """
    stored = _stored(tag)
    return load_model(tag, Path(stored.path), stored.info.labels, stored.info.metadata, role)


def read_contract(tag: str) -> ModelContract:
    """Read a model's contract, and nothing else of it.

    Raises:
        ModelError: the store has no such tag, or no contract that this version reads.
    """
    folder = Path(_stored(tag).path)
    try:
        return ModelContract.from_json((folder / CONTRACT_FILE).read_bytes())
    except (OSError, ContractError) as error:
        raise ModelError(f"model {tag}: {error}") from None


def _stored(tag: str) -> bentoml.Model:
    if not is_exact(tag):
        raise ModelError(f"{tag!r} is not an exact model tag; run `make import-model`")
    try:
        return bentoml.models.get(tag)
    except NotFound:
        raise ModelError(f"model {tag} is not in the BentoML model store; run `make import-model`") from None
    except BentoMLException as error:  # not a valid tag
        raise ModelError(f"model {tag!r}: {error}") from None
