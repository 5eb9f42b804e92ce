"""Moves the aliases of a registered model: each move is claimed in the ledger, then made."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from artefacts.local_pin import pin, store_lock
from contract import differences
from training.bento_import import Servable
from training.data.feature_service import open_feature_service
from training.errors import LedgerError, ModelImportError
from training.promotion.ledger import Alias, Chain, Entry, Ledger, Move, Recorded
from training.settings import TrainingSettings
from training.tracking import registry
from training.tracking.actor import actor
from training.tracking.registry import CHAMPION


@dataclass(frozen=True)
class OpenedRegistry:
    """One registered model, its ledger, and the artefacts of this machine."""

    artefacts: Artefacts
    settings: TrainingSettings
    client: MlflowClient
    ledger: Ledger

    @classmethod
    def of(cls, artefacts: Artefacts, settings: TrainingSettings) -> "OpenedRegistry":
        """Open the registry at the address in `artefacts`."""
        client = registry.open_registry(artefacts.mlflow_tracking_uri, settings.model_name)
        return cls(artefacts, settings, client, Ledger(client, settings.model_name))

    @property
    def name(self) -> str:
        """Name of the registered model."""
        return self.settings.model_name

    def settled(self) -> Chain:
        """Read the ledger and check that it agrees with the alias `champion`.

        Raises:
            LedgerError: it does not.
        """
        chain = self.ledger.read()
        last, champion = chain.last(CHAMPION), registry.aliases_of(self.client, self.name).get(CHAMPION)
        if last is not None and last.entry.to_version != champion:
            raise LedgerError(
                f"alias {CHAMPION!r} of {self.name!r} points to version {champion or 'none'}, but entry {last.number} "
                f"of the ledger says version {last.entry.to_version}: it was moved by hand, or a "
                f'move was cut off; `make rollback TO={last.number} REASON="…"` settles it'
            )
        return chain

    def move(self, entry: Entry, after: Chain, version: ModelVersion, pinned: Servable | None = None) -> Recorded:
        """Append a move to the ledger, then make it.

        Args:
            after: the ledger as it was when the move was decided.
            pinned: the model to pin on this machine, from the model store; None leaves the pin.

        Raises:
            LedgerError: another move came first and nothing changed; or the alias was moved, but the pin not written.
        """
        with store_lock(self.artefacts):
            recorded = self.ledger.append(entry, after, version)
            if entry.alias is not None:
                self._follow(entry.alias)
            if pinned is not None:
                try:
                    pin(self.artefacts, pinned.tag)
                except OSError as error:
                    raise LedgerError(
                        f"entry {recorded.number} made version {version.version} champion, but "
                        f"{self.artefacts.model_tag} cannot be written: {error.strerror}; what is served here stays. "
                        "Mend that, then run `make import-model`"
                    ) from None
        return recorded

    def _follow(self, alias: str) -> None:
        """Set an alias as the ledger says, and read the ledger again, so that a slow move undoes no later one."""
        found = None
        while (last := self.ledger.read().last(alias)) != found and last is not None:
            if last.entry.to_version is None:
                self.client.delete_registered_model_alias(self.name, alias)
            else:
                self.client.set_registered_model_alias(self.name, alias, last.entry.to_version)
            found = last

    def entry(self, move: Move, alias: Alias | None, to: ModelVersion | None, why: str, **rest: Any) -> Entry:
        """An entry with the current time, starting from the alias's current version."""
        aliases = registry.aliases_of(self.client, self.name)
        return Entry(
            move=move,
            alias=alias,
            from_version=aliases.get(alias) if alias else None,
            to_version=str(to.version) if to is not None else None,
            at=datetime.now(UTC),
            who=actor(),
            why=why,
            **rest,
        )

    def refuse_unservable(self, servable: Servable) -> None:
        """Compare a model's contract with the live Feast registry, as the service does at its start.

        Raises:
            ModelImportError: the registry no longer offers the features that the model was trained on.
        """
        contract = servable.contract
        live = open_feature_service(self.artefacts, contract.feature_service).schema
        found = differences(contract.feature_schema, live)
        if found:
            version = servable.registered.version
            raise ModelImportError(
                f"model {self.name!r} version {version.version} cannot be served with the live feature registry: "
                + "; ".join(found)
            )
