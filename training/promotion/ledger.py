"""The ledger: what was moved, when, by whom and why. MLflow itself keeps no history of aliases.

The entries of the model `churn` are the versions of a second registered model, `churn.ledger`. MLflow numbers versions
by a primary key: of two that are made at once each gets a number of its own, whichever backend and machine. An entry
names the one that it follows by hash, so of two that follow the same one only the lower counts.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic import Field, ValidationError

from contract.feature_schema import Frozen
from training.errors import LedgerError
from training.tracking import registry

ENTRY = "entry"
"""Tag of a ledger version that holds the entry as JSON."""


Move = Literal["found", "train", "promote", "rollback", "retrain", "challenge"]
Alias = Literal["champion", "challenger"]


class Entry(Frozen):
    """One move.

    move: `found` stands for the champion from before the ledger.
    alias: the alias that was moved; None for a challenge, which moves none.
    from_version, to_version: None for no version.
    at: UTC.
    restores: rollback only; number of the entry that this one restored.
    served: tag and digests of the files, as `training.bento_import.Servable.identity`; a rollback checks them.
    evidence: the figures that decided, and the address of the whole comparison.
    previous: sha256 of the entry that this one follows; empty for the first.
    """

    move: Move
    alias: Alias | None
    from_version: str | None
    to_version: str | None
    at: datetime
    who: str
    why: str
    forced: bool = False
    restores: int | None = None
    served: dict[str, str] = Field(default_factory=dict)
    evidence: dict[str, Any] = Field(default_factory=dict)
    previous: str = ""


@dataclass(frozen=True)
class Recorded:
    """An entry and its number.

    behind: number of the entry that came first, if this one lost the race and its move was not made.
    """

    number: int
    entry: Entry
    behind: int | None = None


@dataclass(frozen=True)
class Chain:
    """All entries as they were read, oldest first.

    head: sha256 of the last entry that counts.
    breaks: one sentence per entry that was altered or removed.
    """

    recorded: tuple[Recorded, ...]
    head: str
    breaks: tuple[str, ...]

    @property
    def champions(self) -> list[Recorded]:
        """The moves of the alias `champion` that were made, oldest first."""
        return [r for r in self.recorded if r.behind is None and r.entry.alias == "champion"]

    def last(self, alias: str) -> Recorded | None:
        """The latest move of an alias."""
        return next((r for r in reversed(self.recorded) if r.behind is None and r.entry.alias == alias), None)


class Ledger:
    """The ledger of one registered model; entries are added, never changed."""

    def __init__(self, client: MlflowClient, model_name: str) -> None:
        self._client = client
        self.name = f"{model_name}.ledger"
        self._description = (
            f"No model: the ledger of {model_name}. Each version is a move of an alias; its tag `entry` says when, who "
            "and why. `make models` shows it"
        )

    def read(self) -> Chain:
        """Read every entry and hold each against the one that it follows."""
        head, last = "", 0
        numbers = {"": 0}
        recorded, breaks = [], []
        for version in reversed(registry.versions_of(self._client, self.name)):
            number, document = int(version.version), version.tags.get(ENTRY, "")
            digest = hashlib.sha256(document.encode()).hexdigest()
            try:
                entry = Entry.model_validate_json(document)
            except ValidationError:
                breaks.append(
                    f"entry {number} cannot be read: it was altered, or written by a later version of this code"
                )
            else:
                if entry.previous != head and entry.previous in numbers:
                    first = min(n for n in numbers.values() if n > numbers[entry.previous])
                    recorded.append(Recorded(number, entry, behind=first))
                    continue
                if entry.previous != head:
                    breaks.append(
                        f"entry {number} does not follow {f'entry {last}' if last else 'the beginning'}: "
                        "that one was altered, or one between them was removed"
                    )
                recorded.append(Recorded(number, entry))
            head, last = digest, number
            numbers[head] = number
        return Chain(tuple(recorded), head, tuple(breaks))

    def append(self, entry: Entry, after: Chain, version: ModelVersion) -> Recorded:
        """Add an entry, provided that nobody has added one since `after` was read.

        Args:
            version: of the model; the entry points at its run and files.

        Raises:
            LedgerError: somebody came first, and the entry does not count; or the registry refused it.
        """
        document = entry.model_copy(update={"previous": after.head}).model_dump_json()
        source = str(version.source)
        try:
            self._create()
            made = self._client.create_model_version(
                self.name,
                source,
                version.run_id,
                tags={ENTRY: document},
                await_creation_for=0,
                # A server takes a logged model as source only if its id stands beside it; a version does not tell that.
                model_id=source.removeprefix("models:/") if source.startswith("models:/m-") else None,
            )
        except MlflowException as error:
            raise LedgerError(f"{self.name}: the move cannot be recorded: {str(error).splitlines()[0]}") from None
        mine = next(r for r in self.read().recorded if r.number == int(made.version))
        if mine.behind is not None:
            raise LedgerError(
                f"another move came first, entry {mine.behind} of {self.name}; nothing was moved. "
                "See `make models` and run again"
            )
        return mine

    def _create(self) -> None:
        try:
            self._client.create_registered_model(self.name, description=self._description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
