"""A second model beside the champion on this machine: a file, an entry, and nothing else."""

import json
import os
from pathlib import Path

import pytest

from scoring.model_store import open_model
from tests.integration.training.conftest import ALIKE, GOOD, NAME, WORSE, Registry, trained
from training.__main__ import main
from training.challenge import challenge
from training.errors import LedgerError, ModelImportError, TrainingError
from training.moves import promote


def told(models: Registry) -> dict[str, object]:
    found: dict[str, object] = json.loads(models.opened.artefacts.challenger.read_text())
    return found


def test_a_challenger_is_stored_named_and_recorded_and_the_champion_stays(models: Registry) -> None:
    trained(models)
    pinned = models.pinned

    recorded = challenge(models.opened, ALIKE, "canary", 0.25)

    assert recorded is not None
    assert {"tag": recorded.entry.served["tag"], "mode": "canary", "share": 0.25} == told(models)
    assert ALIKE == open_model(str(told(models)["tag"])).contract.model_version
    assert (GOOD, pinned) == (models.champion, models.pinned)
    assert (None, ALIKE) == (recorded.entry.from_version, recorded.entry.to_version)
    assert "canary for 25%" in recorded.entry.why


def test_another_takes_its_place_and_off_removes_it(models: Registry) -> None:
    trained(models)
    challenge(models.opened, ALIKE, "shadow", 0.1)

    other = challenge(models.opened, WORSE, "shadow", 0.1)
    off = challenge(models.opened, "", "off", 0.1)

    assert other is not None
    assert off is not None
    assert [(ALIKE, WORSE), (WORSE, None)] == [(r.entry.from_version, r.entry.to_version) for r in (other, off)]
    assert not models.opened.artefacts.challenger.exists()
    assert challenge(models.opened, "", "off", 0.1) is None


def test_a_challenger_that_becomes_champion_challenges_no_longer(models: Registry) -> None:
    trained(models)
    challenge(models.opened, ALIKE, "shadow", 0.1)

    promote(models.opened, ALIKE)

    assert not models.opened.artefacts.challenger.exists()


def test_a_challenger_whose_version_is_gone_can_still_be_switched_off(models: Registry) -> None:
    trained(models)
    challenge(models.opened, ALIKE, "shadow", 0.1)
    models.opened.client.delete_model_version(NAME, ALIKE)

    off = challenge(models.opened, "", "off", 0.1)

    assert off is not None
    assert (ALIKE, None) == (off.entry.from_version, off.entry.to_version)
    assert not models.opened.artefacts.challenger.exists()


def test_a_file_of_the_challenger_that_cannot_be_written_is_told_with_the_entry(models: Registry) -> None:
    trained(models)
    file = models.opened.artefacts.challenger
    file.with_name(f"{file.name}.{os.getpid()}").mkdir()  # in the way of the new one

    with pytest.raises(LedgerError, match=r"entry 2 says .*shadow.*, but .*challenger\.json cannot be written: Is a"):
        challenge(models.opened, ALIKE, "shadow", 0.1)
    assert not file.exists()


def test_the_champion_a_version_that_failed_its_gate_and_a_damaged_one_do_not_challenge(models: Registry) -> None:
    trained(models)
    models.opened.client.set_model_version_tag(NAME, WORSE, "gate", "hardly beats recency")
    models.artifact(ALIKE, "model.skops").write_bytes(b"PK")
    before = models.state

    with pytest.raises(TrainingError, match="version 1 of 'test_churn' is champion; it cannot challenge itself"):
        challenge(models.opened, GOOD, "shadow", 0.1)
    with pytest.raises(ModelImportError, match="did not pass the gate: hardly beats recency"):
        challenge(models.opened, WORSE, "shadow", 0.1)
    with pytest.raises(ModelImportError, match="altered since"):
        challenge(models.opened, ALIKE, "canary", 0.1)
    assert before == models.state


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["challenge", "--mode", "loud"], "invalid choice: 'loud'"),
        (["challenge", "--mode", "canary", "--share", "1.5"], "'1.5' is not a share above 0 and up to 1"),
        (["challenge", "--mode", "canary", "--share", "some"], "'some' is not a share"),
        (["promote", "--force", "--reason", " "], "--force needs a --reason"),
        (["rollback", "--reason", ""], "a rollback needs a --reason"),
        (["rollback", "--reason", "x", "--to", "first"], "'first' is not the number of a ledger entry"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_opened(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert 2 == ended.value.code
    assert said in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())
