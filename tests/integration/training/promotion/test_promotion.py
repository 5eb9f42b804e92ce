"""A champion is replaced only by a version that the gate lets through, and then everywhere at once."""

import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import bentoml
import pytest

from scoring.models.model_store import open_model
from tests.integration.training.conftest import ALIKE, DAMAGES, GOOD, NAME, WORSE, Registry, damaged, trained
from training import bento_import
from training.__main__ import main
from training.bento_import import Servable, import_model
from training.errors import GateError, LedgerError, ModelImportError, TrainingError
from training.promotion.moves import promote, promote_trained
from training.tracking import registry


def test_the_first_promotion_needs_no_champion(models: Registry) -> None:
    recorded = promote(models.opened, GOOD)

    assert GOOD == models.champion
    assert (None, GOOD, "promote") == (recorded.entry.from_version, recorded.entry.to_version, recorded.entry.move)
    assert GOOD == open_model(models.pinned).contract.model_version


def test_a_version_that_is_no_worse_takes_the_champions_place_and_the_evidence_is_kept(models: Registry) -> None:
    trained(models)
    models.opened.client.set_registered_model_alias(NAME, "challenger", ALIKE)
    before = datetime.now(UTC)

    recorded = promote(models.opened)

    entry = recorded.entry
    assert {"champion": ALIKE} == registry.aliases_of(models.opened.client, NAME)
    assert models.pinned == entry.served["tag"] == open_model(models.pinned).tag
    assert (GOOD, ALIKE, False) == (entry.from_version, entry.to_version, entry.forced)
    assert before <= entry.at <= datetime.now(UTC)
    assert "@" in entry.who or entry.who
    kept = json.loads(models.artifact(ALIKE, "against-v1-*.json").read_text())
    assert kept["headline"]["paired"]["difference"]["value"] == entry.evidence["difference"][0]
    verdicts = {kept[figure]["what"]: kept[figure]["verdict"] for figure in ("headline", "calibration")}
    assert verdicts == {what: entry.evidence["verdicts"][what] for what in verdicts}
    assert {"not worse", "better"} >= set(verdicts.values())
    tag = models.opened.client.get_model_version(NAME, ALIKE).tags["gate_against_champion"]
    assert tag.startswith(f"against version 1: passed, {kept['headline']['verdict']}: ROC AUC of active rows ")
    assert {"1", "1000"} == kept["candidate_microseconds"].keys()
    assert 600 == kept["rows"] == sum(segment["rows"] for segment in kept["segments"])


def test_a_wrong_alias_is_told_before_anything_is_fetched(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    models.opened.client.set_registered_model_alias(NAME, "champion", GOOD)  # of before there was a ledger
    monkeypatch.delattr("training.promotion.moves.prepare")

    with pytest.raises(TrainingError, match="no alias 'abc'; `make models` lists aliases and versions"):
        promote(models.opened, "abc")


def test_a_worse_version_is_refused_with_every_reason_and_nothing_moves(models: Registry) -> None:
    trained(models)
    before = models.state

    with pytest.raises(GateError, match=r"ROC AUC of active rows .*; .*of the decisions change.*FORCE=1"):
        promote(models.opened, WORSE)

    assert before == models.state
    assert "refused: " in models.opened.client.get_model_version(NAME, WORSE).tags["gate_against_champion"]


def test_force_promotes_against_the_gate_and_is_recorded_with_reason_and_objections(models: Registry) -> None:
    trained(models)

    entry = promote(models.opened, WORSE, reason="the old one must go", force=True).entry

    assert (WORSE, True, "the old one must go") == (models.champion, entry.forced, entry.why)
    assert any("ROC AUC" in objection for objection in entry.evidence["objections"])


def test_a_version_that_was_forced_in_spite_of_its_own_gate_can_be_imported_elsewhere(models: Registry) -> None:
    models.opened.client.set_model_version_tag(NAME, GOOD, "gate", "hardly beats recency")
    with pytest.raises(GateError, match="hardly beats recency"):
        promote(models.opened, GOOD, reason="but")

    promote(models.opened, GOOD, reason="it is all there is", force=True)

    elsewhere = models.elsewhere()
    import_model(elsewhere.artefacts, NAME, "champion", elsewhere.artefacts.mlflow_tracking_uri)
    assert models.pinned == elsewhere.artefacts.model_tag.read_text().strip()


def test_rows_that_the_champion_was_fitted_on_decide_nothing(models: Registry) -> None:
    trained(models)

    def later(document: dict[str, Any]) -> None:
        document["training_window"]["labels_until"] = "2026-06-02T00:00:00+00:00"

    models.rewrite_contract(GOOD, later)

    with pytest.raises(
        GateError, match=r"version 1 was fitted on labels until 2026-06-02.*after the test cut-off 2026-06"
    ):
        promote(models.opened, ALIKE)


def test_an_import_that_a_promotion_overtakes_does_not_pin_what_was_champion_before(
    models: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(models)
    prepared = bento_import.prepare

    def overtaken(*arguments: Any) -> Servable:
        servable = prepared(*arguments)
        monkeypatch.undo()
        promote(models.opened, ALIKE)
        return servable

    monkeypatch.setattr(bento_import, "prepare", overtaken)

    with pytest.raises(ModelImportError, match="'champion' of 'test_churn' was moved meanwhile"):
        import_model(models.opened.artefacts, NAME, "champion", models.opened.artefacts.mlflow_tracking_uri)
    assert (ALIKE, ALIKE) == (models.champion, open_model(models.pinned).contract.model_version)


@pytest.mark.parametrize("left", [None, "labels: {"], ids=["nothing", "half its description"])
def test_an_import_that_was_killed_half_way_is_made_good_by_the_next(models: Registry, left: str | None) -> None:
    trained(models)
    folder = Path(bentoml.models.get(models.pinned).path)
    shutil.rmtree(folder)
    folder.mkdir()
    if left:
        (folder / "model.yaml").write_text(left)

    import_model(models.opened.artefacts, NAME, "champion", models.opened.artefacts.mlflow_tracking_uri)

    assert GOOD == open_model(models.pinned).contract.model_version


def test_two_imports_of_one_version_at_once_both_find_it_whole(models: Registry) -> None:
    promote_trained(models.opened, registry.version_of(models.opened.client, NAME, GOOD))
    servable = bento_import.prepare(models.opened.client, registry.version_of(models.opened.client, NAME, GOOD))
    both = Barrier(4)

    def at_once(_: int) -> None:
        both.wait()
        bento_import.store(models.opened.artefacts, servable)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(at_once, range(4)))
    assert GOOD == open_model(servable.tag).contract.model_version


def test_a_folder_that_cannot_be_written_to_is_one_clear_line(
    models: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(models)
    (models.root / "file").touch()
    monkeypatch.setenv("TRAINING_MODEL_NAME", NAME)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", models.opened.artefacts.mlflow_tracking_uri)
    monkeypatch.setenv("MODEL_TAG_PATH", str(models.root / "file" / "model_tag"))
    capsys.readouterr()

    assert 1 == main(["import-model"])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert 1 == len(said)
    assert "/file" in said[0]


def test_the_champion_cannot_be_promoted_again(models: Registry) -> None:
    trained(models)

    with pytest.raises(TrainingError, match="version 1 of 'test_churn' is champion already"):
        promote(models.opened, GOOD)


@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_an_alias_that_points_nowhere_is_named(models: Registry, alias: str) -> None:
    trained(models)
    models.opened.client.set_registered_model_alias(NAME, "challenger", ALIKE)
    with closing(sqlite3.connect(models.root / "var" / "mlflow" / "mlflow.db")) as database:
        database.execute("UPDATE registered_model_aliases SET version = 99 WHERE alias = ?", (alias,))
        database.commit()
    before = models.state

    with pytest.raises(TrainingError, match=rf"alias '{alias}' of .*'test_churn' points to version 99"):
        promote(models.opened)
    assert before == models.state


def test_an_alias_that_was_moved_by_hand_is_told_and_not_built_upon(models: Registry) -> None:
    trained(models)
    models.opened.client.set_registered_model_alias(NAME, "champion", WORSE)
    before = models.state

    with pytest.raises(LedgerError, match=r"points to version 3, but entry 1 of the ledger says version 1.*TO=1"):
        promote(models.opened, ALIKE)
    assert before == models.state


def test_a_tampered_artifact_is_refused_even_by_force_and_what_is_served_stays(models: Registry) -> None:
    trained(models)
    before = models.state
    for pattern in ("model.skops", "test_set.parquet", "contract.json"):
        for how in DAMAGES:
            with damaged(models.artifact(ALIKE, pattern), how), pytest.raises(ModelImportError, match="version 2"):
                promote(models.opened, ALIKE, reason=f"{pattern} {how}", force=True)
            assert before == models.state, f"{pattern} {how}"
    assert GOOD == open_model(models.pinned).contract.model_version


def test_a_contract_of_a_later_schema_version_is_refused(models: Registry) -> None:
    trained(models)
    models.rewrite_contract(ALIKE, lambda document: document.update(schema_version=3))
    before = models.state

    with pytest.raises(
        ModelImportError, match="version 2: contract has schema_version 3; this code understands up to 2"
    ):
        promote(models.opened, ALIKE, reason="I insist", force=True)
    assert before == models.state


def test_a_model_that_was_trained_on_features_that_no_longer_exist_is_refused(models: Registry) -> None:
    trained(models)

    def with_a_feature_that_is_gone(document: dict[str, Any]) -> None:
        features = document["feature_schema"]["features"]
        features.append({**features[0], "name": "customer_lifetime__horoscope"})

    models.rewrite_contract(ALIKE, with_a_feature_that_is_gone)
    before = models.state

    with pytest.raises(ModelImportError, match=r"feature 'customer_lifetime__horoscope' is not in the registry"):
        promote(models.opened, ALIKE, reason="I insist", force=True)
    assert before == models.state
