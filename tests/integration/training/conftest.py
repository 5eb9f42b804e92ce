"""A real SQLite registry with three small versions over the project's own features, copied for each test."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from artefacts.addresses import Artefacts
from contract import ModelContract, content_sha256
from jobs.feature_store import apply
from tests.models.churn_model import churn_contract
from training.bento_import import import_model
from training.churn.candidates import logistic
from training.churn.source.addresses import OrderAddresses
from training.gate.rules import PASSED
from training.promotion.moves import promote, promote_trained
from training.promotion.registry_moves import OpenedRegistry
from training.settings import TrainingSettings
from training.tracking import registry, run_log
from training.tracking.registry import version_of

NAME = "test_churn"
TEST_CUTOFF = "2026-06-01T00:00:00+00:00"
GOOD, ALIKE, WORSE = "1", "2", "3"
"""Versions: what the second says is nearly what the first says; the third was fitted on labels that were shuffled."""

SETTINGS = TrainingSettings(
    model_name=NAME,
    bootstrap_resamples=40,
    max_calibration_loss=0.05,  # 600 rows cannot tell less
    max_slowdown=1_000,  # other tests run beside this one
    segments="customer_lifetime__order_count:20",
)


@dataclass(frozen=True)
class Registry:
    """A test's own registry, opened, and the folder of everything."""

    root: Path
    opened: OpenedRegistry

    @property
    def pinned(self) -> str:
        file = self.opened.artefacts.model_tag
        return file.read_text().strip() if file.exists() else ""

    @property
    def champion(self) -> str | None:
        return registry.aliases_of(self.opened.client, NAME).get("champion")

    @property
    def state(self) -> tuple[Any, ...]:
        """All that a refused move must leave alone."""
        aliases = registry.aliases_of(self.opened.client, NAME)
        made = [r.number for r in self.opened.ledger.read().recorded if r.behind is None]
        return aliases, self.pinned, made, self.opened.artefacts.challenger.exists()

    def elsewhere(self) -> OpenedRegistry:
        """The same registry as another machine sees it: a pin and a lock of its own."""
        other = {"model_tag": self.root / "elsewhere" / "model_tag", "challenger": self.root / "elsewhere" / "c.json"}
        return OpenedRegistry.of(self.opened.artefacts.model_copy(update=other), SETTINGS)

    def artifact(self, version: str, pattern: str) -> Path:
        """A file of a version: of its run, or of the model that was logged."""
        found = self.opened.client.get_model_version(NAME, version)
        model = self.opened.client.get_model_version_download_uri(NAME, version)
        run = self.opened.client.get_run(str(found.run_id)).info.artifact_uri
        folders = {Path(uri.removeprefix("file://")) for uri in (model, run)}
        (file,) = (path for folder in folders for path in folder.rglob(pattern))
        return file

    def rewrite_contract(self, version: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Have a version promise something else, as if it had been registered so."""
        file = self.artifact(version, "contract.json")
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))
        self.opened.client.set_model_version_tag(NAME, version, "contract_sha256", content_sha256(file.read_text()))


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is copied."""
    root = tmp_path_factory.mktemp("registered")
    artefacts = Artefacts.of({}, root)
    apply(artefacts)
    opened = OpenedRegistry.of(artefacts, SETTINGS)
    contract = churn_contract(artefacts)
    names = contract.feature_names
    window = {"labels_until": TEST_CUTOFF}
    drafted = contract.model_copy(update={"training_window": window, "metrics": {"active_roc_auc": 0.8}})
    train, churned = customers(names, seed=1)
    test, test_churned = customers(names, seed=2)
    for version, seed in ((GOOD, 3), (ALIKE, 4), (WORSE, 5)):
        rows = np.random.default_rng(seed).choice(len(train), len(train) - 20, replace=False)
        labels = np.random.default_rng(seed).permutation(churned) if version == WORSE else churned
        pipeline = logistic(seed).fit(train.iloc[rows], labels[rows])
        test_set = test.assign(
            event_timestamp=pd.Timestamp(TEST_CUTOFF),
            active=np.arange(len(test)) % 3 > 0,
            churned=test_churned,
            probability=pipeline.predict_proba(test)[:, 1],
        )
        with run_log.new_run(opened.client, NAME):
            made = run_log.register(opened.client, pipeline, test_set, drafted, features_sha256=f"{seed:064}")
        opened.client.set_model_version_tag(NAME, made.version.version, "gate", PASSED)
    return root


@pytest.fixture(scope="session")
def contract(registered: Path) -> ModelContract:
    """Of the feature service that the registry was applied with; the registry of a copy reads where it was applied."""
    return churn_contract(Artefacts.of({}, registered))


def customers(names: list[str], seed: int) -> tuple[pd.DataFrame, "np.ndarray[Any, np.dtype[np.bool_]]"]:
    random = np.random.default_rng(seed)
    matrix = pd.DataFrame(random.exponential(20, (600, len(names))).astype(np.float32), columns=names)
    log_odds = (matrix[SETTINGS.recency_feature] - matrix["customer_lifetime__order_count"]).to_numpy() / 8
    churned: np.ndarray[Any, np.dtype[np.bool_]] = random.random(600) < 1 / (1 + np.exp(-log_odds))
    return matrix, churned


@pytest.fixture(scope="session")
def promoted(registered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after versions 1, 2 and 3 were made champion, by entries 1, 2 and 3, the last by force."""
    root = tmp_path_factory.mktemp("promoted")
    with copied(registered, root) as models:
        trained(models)
        promote(models.opened, ALIKE)
        promote(models.opened, WORSE, reason="a mistake", force=True)
    return root


@pytest.fixture
def models(registered: Path, tmp_path: Path) -> Iterator[Registry]:
    """A copy that may be broken; nothing is champion yet."""
    with copied(registered, tmp_path) as copy:
        yield copy


@pytest.fixture
def three(promoted: Path, tmp_path: Path) -> Iterator[Registry]:
    """A copy that may be broken; versions 1, 2 and 3 were made champion one after the other."""
    with copied(promoted, tmp_path) as copy:
        yield copy


def trained(models: Registry, version: str = GOOD) -> None:
    """As `make train import-model` leaves it."""
    promote_trained(models.opened, version_of(models.opened.client, NAME, version))
    import_model(models.opened.artefacts, NAME, "champion", models.opened.artefacts.mlflow_tracking_uri)


@contextmanager
def copied(origin: Path, root: Path) -> Iterator[Registry]:
    """A registry of its own, which opening it makes one of the copy, and a BentoML model store of its own."""
    shutil.copytree(origin, root, dirs_exist_ok=True)
    _artifact_repos_cache.clear()  # by run id, which every copy has in common
    store = root / "bentoml" / "models"
    store.mkdir(parents=True, exist_ok=True)
    BentoMLContainer.model_store.set(ModelStore(store))
    with mock.patch.dict(os.environ, {"ORDERS_PATH": str(OrderAddresses.of({}, root).orders)}):
        yield Registry(root, OpenedRegistry.of(Artefacts.of({}, root), SETTINGS))
    BentoMLContainer.model_store.reset()


DAMAGES = ("altered", "truncated", "missing")


@contextmanager
def damaged(file: Path, how: str) -> Iterator[None]:
    """One bit turned, the last bytes gone, or the whole file; for as long as the context lasts."""
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-10] if how == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    yield
    file.write_bytes(content)


def sha256_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
