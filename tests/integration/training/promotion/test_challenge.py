"""A second model beside the champion on this machine: a file, an entry, and nothing else."""

import json
import os
from pathlib import Path

import bentoml
import pytest

from artefacts.local_pin import switch_off
from scoring.models.model_store import open_model
from tests.integration.training.conftest import ALIKE, GOOD, NAME, WORSE, Registry, trained
from training.__main__ import main
from training.bento_import import import_model
from training.errors import LedgerError, ModelImportError, TrainingError
from training.promotion.challenge import challenge, record_off
from training.promotion.moves import promote, promote_trained
from training.tracking.registry import version_of


def imported_again(*_: object) -> None:
    raise AssertionError("imported again")


def told(models: Registry) -> dict[str, object]:
    found: dict[str, object] = json.loads(models.opened.artefacts.challenger.read_text())
    return found


def test_a_challenger_is_stored_named_and_recorded_and_the_champion_stays(models: Registry) -> None:
    trained(models)
    pinned = models.pinned

    recorded = challenge(models.opened, ALIKE, "canary", 0.25)

    assert {"tag": recorded.entry.served["tag"], "mode": "canary", "share": 0.25} == told(models)
    assert ALIKE == open_model(str(told(models)["tag"])).contract.model_version
    assert (GOOD, pinned) == (models.champion, models.pinned)
    assert (None, ALIKE) == (recorded.entry.from_version, recorded.entry.to_version)
    assert recorded.entry.why.startswith("version 2 is canary for 25% of the customers of version 1, on ")


def test_another_takes_its_place_and_off_removes_it(models: Registry) -> None:
    trained(models)
    challenge(models.opened, ALIKE, "shadow", 0.1)

    other = challenge(models.opened, WORSE, "shadow", 0.1)
    off = record_off(models.opened, switch_off(models.opened.artefacts) or {})

    assert [(ALIKE, WORSE), (WORSE, None)] == [(r.entry.from_version, r.entry.to_version) for r in (other, off)]
    assert not models.opened.artefacts.challenger.exists()
    assert switch_off(models.opened.artefacts) is None


def test_a_challenger_that_only_does_something_else_is_not_imported_again(
    models: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(models)
    shadow = challenge(models.opened, ALIKE, "shadow", 0.1)
    monkeypatch.setattr("training.promotion.challenge.prepare", imported_again)

    canary = challenge(models.opened, ALIKE, "canary", 0.2)

    assert shadow.entry.served == canary.entry.served
    assert {"tag": canary.entry.served["tag"], "mode": "canary", "share": 0.2} == told(models)
    with pytest.raises(AssertionError, match="imported again"):
        challenge(models.opened, WORSE, "canary", 0.2)
    Path(bentoml.models.get(str(told(models)["tag"])).path, "model.onnx").write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="imported again"):
        challenge(models.opened, ALIKE, "shadow", 0.2)


@pytest.mark.usefixtures("printed_logs")
def test_a_challenger_that_is_pinned_challenges_no_longer_and_that_is_said(
    models: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(models)
    tag = challenge(models.opened, ALIKE, "shadow", 0.1).entry.served["tag"]

    promote(models.opened, ALIKE)

    assert not models.opened.artefacts.challenger.exists()
    assert f"{tag} was the challenger here; there is none now" in capsys.readouterr().out


def test_who_challenges_is_held_against_what_is_pinned_here_not_against_the_alias(models: Registry) -> None:
    """A champion that this machine does not serve yet may be tried beside the one that it serves."""
    trained(models)
    opened = models.opened
    promote_trained(opened, version_of(opened.client, NAME, ALIKE))

    with pytest.raises(TrainingError, match="version 1 of 'test_churn' is pinned here; it cannot challenge itself"):
        challenge(opened, GOOD, "shadow", 0.1)
    recorded = challenge(opened, "champion", "shadow", 0.1)

    assert recorded.entry.why.startswith("version 2 shadows version 1, on ")
    import_model(opened.artefacts, NAME, "champion", opened.artefacts.mlflow_tracking_uri)
    assert not opened.artefacts.challenger.exists()


def test_where_nothing_is_pinned_the_champion_does_not_challenge(models: Registry) -> None:
    trained(models)
    models.opened.artefacts.model_tag.unlink()

    with pytest.raises(TrainingError, match="version 1 of 'test_churn' is champion; it cannot challenge itself"):
        challenge(models.opened, GOOD, "shadow", 0.1)


def test_a_challenger_is_off_also_where_the_registry_cannot_be_reached(
    models: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(models)
    artefacts = models.opened.artefacts
    tag = challenge(models.opened, ALIKE, "canary", 0.1).entry.served["tag"]
    monkeypatch.setenv("CHALLENGER_PATH", str(artefacts.challenger))
    monkeypatch.setenv("MODEL_TAG_PATH", str(artefacts.model_tag))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://")

    assert 1 == main(["challenge", "--mode", "off"])

    said = capsys.readouterr()
    assert f"{tag} challenges here no longer\n" == said.out
    assert said.err.startswith("error: the MLflow registry at ")
    assert not artefacts.challenger.exists()
    assert 0 == main(["challenge", "--mode", "off"])
    assert "there is no challenger here\n" == capsys.readouterr().out


def test_a_challenger_whose_version_is_gone_can_still_be_switched_off(models: Registry) -> None:
    trained(models)
    challenge(models.opened, ALIKE, "shadow", 0.1)
    models.opened.client.delete_model_version(NAME, ALIKE)

    off = record_off(models.opened, switch_off(models.opened.artefacts) or {})

    assert (ALIKE, None) == (off.entry.from_version, off.entry.to_version)
    assert not models.opened.artefacts.challenger.exists()


def test_a_file_of_the_challenger_that_cannot_be_written_is_told_with_the_entry(models: Registry) -> None:
    trained(models)
    file = models.opened.artefacts.challenger
    partial = f".{file.name}.{os.uname().nodename}-{os.getpid()}.partial"
    file.with_name(partial).mkdir()  # in the way of the new one

    with pytest.raises(LedgerError, match=r"entry 2 says .*shadow.*, but .*challenger\.json cannot be written: Is a"):
        challenge(models.opened, ALIKE, "shadow", 0.1)
    assert not file.exists()


def test_the_champion_a_version_that_failed_its_gate_and_a_damaged_one_do_not_challenge(models: Registry) -> None:
    trained(models)
    models.opened.client.set_model_version_tag(NAME, WORSE, "gate", "hardly beats recency")
    models.artifact(ALIKE, "model.skops").write_bytes(b"PK")
    before = models.state

    with pytest.raises(TrainingError, match="version 1 of 'test_churn' is pinned here; it cannot challenge itself"):
        challenge(models.opened, GOOD, "shadow", 0.1)
    with pytest.raises(ModelImportError, match="did not pass the gate: hardly beats recency"):
        challenge(models.opened, WORSE, "shadow", 0.1)
    with pytest.raises(ModelImportError, match="altered since"):
        challenge(models.opened, ALIKE, "canary", 0.1)
    assert before == models.state


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["challenge", "--mode", "loud"], "'loud' is not one of 'shadow', 'canary', 'off'"),
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
    told = capsys.readouterr().err
    assert said in told
    assert ("error: ", 1) == (told[:7], told.count("\n"))
    assert [] == list(tmp_path.iterdir())
