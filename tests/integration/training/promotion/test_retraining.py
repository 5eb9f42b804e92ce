"""A retraining on a schedule: nothing without new data, one at a time, and never further than the challenger.

What training itself does is held by the tests of the whole loop; here a version that is registered stands in for it.
"""

import fcntl
import json
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from tests.integration.training import conftest
from tests.integration.training.conftest import ALIKE, GOOD, NAME, WORSE, Registry, trained
from training.__main__ import main
from training.churn.source.addresses import OrderAddresses
from training.data.feature_service import built_from
from training.errors import DatasetError, GateError, LedgerError, LockedError
from training.promotion import retraining
from training.promotion.retraining import retrain
from training.tracking import registry
from training.tracking.registry import FEATURES_SHA256

TEST_CUTOFF = datetime.fromisoformat(conftest.TEST_CUTOFF)


def known(models: Registry, until: datetime) -> None:
    """An orders file that says before when every order is known."""
    described = pa.schema([], metadata={"orders": json.dumps({"observed_until": until.isoformat()})})
    orders = OrderAddresses.of({}, models.root).orders
    orders.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(described.empty_table(), orders)


def build(models: Registry, orders: int) -> None:
    """What a build of the features and the orders leave, as far as a retraining looks at it."""
    known(models, TEST_CUTOFF + timedelta(days=91))
    file = models.opened.artefacts.offline_store / "current" / "build.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    days = {"20000": {"events": orders, "hash": str(orders * 7)}}
    made_of = {"source": "test", "observed_until": "2026-06-10T00:00:00+00:00", "days": days, "definition": "d"}
    file.write_text(json.dumps({**made_of, "newest_snapshot": "changes every day"}))


@pytest.fixture
def fresh(models: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """New data since the champion was trained."""
    trained(models)
    build(models, orders=11)
    return models


def newest_has_seen(models: Registry, built: str) -> None:
    """The newest version was trained on this build and refused the alias."""
    models.opened.client.set_model_version_tag(NAME, WORSE, FEATURES_SHA256, built)
    models.opened.client.set_model_version_tag(NAME, WORSE, "gate_against_champion", "against version 1: refused: x")


def training_gives(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    def given(client: MlflowClient, *_: object) -> ModelVersion:
        return registry.version_of(client, NAME, version)

    monkeypatch.setattr(retraining, "train_version", given)


def not_again(*_: object) -> ModelVersion:
    raise AssertionError("trained")


def test_new_data_give_a_challenger_and_the_champion_stays(fresh: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    training_gives(monkeypatch, ALIKE)
    pinned = fresh.pinned

    recorded = retrain(fresh.opened)

    assert recorded is not None
    assert ("retrain", "challenger", ALIKE) == (recorded.entry.move, recorded.entry.alias, recorded.entry.to_version)
    assert {"champion": GOOD, "challenger": ALIKE} == registry.aliases_of(fresh.opened.client, NAME)
    assert pinned == fresh.pinned


def test_a_version_that_the_gate_refuses_stays_registered_without_alias(
    fresh: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training_gives(monkeypatch, WORSE)
    before = fresh.state

    with pytest.raises(GateError, match="version 3 of 'test_churn' is registered without an alias"):
        retrain(fresh.opened)
    assert before == fresh.state
    assert 4 == GateError.exit_code


def test_without_new_data_nothing_is_trained(fresh: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    built = built_from(fresh.opened.artefacts)
    newest_has_seen(fresh, built)
    before = fresh.state

    assert retrain(fresh.opened) is None

    assert before == fresh.state
    build(fresh, orders=12)
    assert built != built_from(fresh.opened.artefacts)
    build(fresh, orders=11)
    assert built == built_from(fresh.opened.artefacts)


@pytest.mark.parametrize(("version", "passes"), [(ALIKE, True), (WORSE, False)])
def test_without_new_data_a_forced_retraining_trains_and_the_gate_decides_as_ever(
    fresh: Registry, monkeypatch: pytest.MonkeyPatch, version: str, passes: bool
) -> None:
    newest_has_seen(fresh, built_from(fresh.opened.artefacts))
    training_gives(monkeypatch, version)
    if not passes:
        with pytest.raises(GateError, match="version 3 of 'test_churn' is registered without an alias"):
            retrain(fresh.opened, force=True)
        return

    recorded = retrain(fresh.opened, force=True)

    assert recorded is not None
    assert "trained again on the same data, and passed the gate" == recorded.entry.why
    assert {"champion": GOOD, "challenger": ALIKE} == registry.aliases_of(fresh.opened.client, NAME)


def test_orders_that_end_before_the_champions_labels_are_told_before_the_minutes_of_training(
    fresh: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(fresh, TEST_CUTOFF + timedelta(days=90))
    monkeypatch.setattr(retraining, "train_version", not_again)

    with pytest.raises(DatasetError, match=r"version 1, .* labels until 2026-06-01.*cut-off 2026-05-31; a ver"):
        retrain(fresh.opened)


def test_a_retraining_that_was_cut_off_before_the_gate_is_taken_up_where_it_was(
    fresh: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = fresh.opened.client
    client.delete_model_version(NAME, WORSE)
    client.set_model_version_tag(NAME, ALIKE, FEATURES_SHA256, built_from(fresh.opened.artefacts))
    monkeypatch.setattr(retraining, "train_version", not_again)

    recorded = retrain(fresh.opened)

    assert recorded is not None
    assert ("challenger", ALIKE) == (recorded.entry.alias, recorded.entry.to_version)
    assert retrain(fresh.opened) is None


@pytest.mark.parametrize("verdict", [None, "hardly beats recency"])
def test_a_version_that_its_own_gate_has_not_passed_is_not_taken_up(
    fresh: Registry, monkeypatch: pytest.MonkeyPatch, verdict: str | None
) -> None:
    """One that it refused is done with; one that it never saw is trained anew."""
    client = fresh.opened.client
    client.set_model_version_tag(NAME, WORSE, FEATURES_SHA256, built_from(fresh.opened.artefacts))
    client.delete_model_version_tag(NAME, WORSE, "gate")
    training_gives(monkeypatch, ALIKE)
    if verdict:
        client.set_model_version_tag(NAME, WORSE, "gate", verdict)

    assert (verdict is None) == (retrain(fresh.opened) is not None)


def test_an_alias_that_was_moved_by_hand_is_told_before_the_minutes_of_training(
    fresh: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.opened.client.set_registered_model_alias(NAME, "champion", WORSE)
    monkeypatch.setattr(retraining, "train_version", not_again)

    with pytest.raises(LedgerError, match="was moved by hand"):
        retrain(fresh.opened)


def test_the_command_says_that_nothing_is_new_and_ends_well(
    fresh: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artefacts = fresh.opened.artefacts
    newest_has_seen(fresh, built_from(artefacts))
    monkeypatch.setenv("TRAINING_MODEL_NAME", NAME)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", artefacts.mlflow_tracking_uri)
    monkeypatch.setenv("OFFLINE_STORE_DIR", str(artefacts.offline_store))
    monkeypatch.setenv("MODEL_TAG_PATH", str(artefacts.model_tag))

    assert 0 == main(["retrain"])
    assert "no new data" in capsys.readouterr().out

    artefacts.model_tag.with_name("retrain.lock").touch()
    with artefacts.model_tag.with_name("retrain.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert 3 == main(["retrain"])
    assert "error: " in capsys.readouterr().err


def test_one_retraining_runs_at_a_time(fresh: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def within(*_: object) -> ModelVersion:
        with pytest.raises(LockedError, match="another retraining is running"):
            retrain(fresh.opened)
        return registry.version_of(fresh.opened.client, NAME, ALIKE)

    monkeypatch.setattr(retraining, "train_version", within)

    assert retrain(fresh.opened) is not None


def test_without_features_it_says_what_to_run(models: Registry) -> None:
    with pytest.raises(DatasetError, match="no features; run `make features` first"):
        retrain(models.opened)
