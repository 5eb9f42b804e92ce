"""One command brings back what was served before, byte for byte."""

import json
import os
from pathlib import Path

import bentoml
import pytest

from tests.integration.training.conftest import ALIKE, DAMAGES, GOOD, NAME, WORSE, Registry, damaged, sha256_of
from training.compilation import onnx_model
from training.errors import LedgerError, ModelImportError
from training.promotion.challenge import challenge
from training.promotion.moves import promote, roll_back
from training.tracking import registry


def test_a_rollback_goes_to_the_entry_before_and_each_further_one_goes_further(three: Registry) -> None:
    first = roll_back(three.opened, None, "it was worse")
    assert (ALIKE, 2, "it was worse") == (three.champion, first.entry.restores, first.entry.why)

    second = roll_back(three.opened, None, "still not good")
    assert (GOOD, 1, (ALIKE, GOOD)) == (
        three.champion,
        second.entry.restores,
        (second.entry.from_version, second.entry.to_version),
    )
    with pytest.raises(LedgerError, match="entry 1 is the first of the ledger"):
        roll_back(three.opened, None, "further still")
    assert GOOD == three.champion


def test_a_challenger_that_a_rollback_makes_champion_challenges_no_longer(three: Registry) -> None:
    three.opened.client.set_registered_model_alias(NAME, "challenger", ALIKE)
    challenge(three.opened, ALIKE, "shadow", 0.1)

    roll_back(three.opened, None, "the shadow was better")

    assert {"champion": ALIKE} == registry.aliases_of(three.opened.client, NAME)
    assert not three.opened.artefacts.challenger.exists()


def test_a_rollback_goes_to_any_entry(three: Registry) -> None:
    roll_back(three.opened, 1, "back to the start")
    assert GOOD == three.champion

    roll_back(three.opened, 3, "it was not that bad")
    assert WORSE == three.champion
    with pytest.raises(LedgerError, match="entry 3 made version 3 champion, which it is"):
        roll_back(three.opened, 3, "again")
    with pytest.raises(LedgerError, match="entry 99 of the ledger promoted no champion; these did: 1, 2, 3, 4, 5"):
        roll_back(three.opened, 99, "where to?")


def test_a_rollback_brings_back_the_same_bytes_though_compiling_again_would_give_others(
    three: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = {r.number: r.entry.served for r in three.opened.ledger.read().recorded}
    bentoml.models.delete(served[2]["tag"])

    def not_again(*_: object) -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr(onnx_model, "compile_to_onnx", not_again)
    recorded = roll_back(three.opened, 2, "it was worse")

    assert served[2] == recorded.entry.served
    folder = Path(bentoml.models.get(three.pinned).path)
    assert served[2]["file_sha256"] == sha256_of(folder / "model.onnx")
    assert served[2]["pipeline_sha256"] == sha256_of(folder / "model.skops")


def test_a_rollback_to_a_tampered_version_is_refused_and_what_is_served_stays(three: Registry) -> None:
    before = three.state
    for pattern in ("model.skops", "contract.json", "*.onnx"):
        for how in DAMAGES:
            with damaged(three.artifact(ALIKE, pattern), how), pytest.raises(ModelImportError, match="version 2"):
                roll_back(three.opened, 2, f"{pattern} {how}")
            assert before == three.state, f"{pattern} {how}"


def test_bytes_that_were_exchanged_together_with_their_digest_are_not_those_of_the_entry(three: Registry) -> None:
    three.rewrite_contract(ALIKE, lambda document: document["task"]["threshold"].update(value=0.01))
    before = three.state

    with pytest.raises(ModelImportError, match=r"version 2: .* entry 2 served"):
        roll_back(three.opened, 2, "it was worse")
    assert before == three.state


def test_a_rollback_settles_an_alias_that_was_moved_by_hand(three: Registry) -> None:
    three.opened.client.set_registered_model_alias(NAME, "champion", GOOD)

    recorded = roll_back(three.opened, 3, "somebody moved the alias")

    assert (WORSE, GOOD) == (three.champion, recorded.entry.from_version)
    assert three.opened.settled().last("champion") == recorded


def test_a_champion_from_before_the_ledger_can_be_rolled_back_to(models: Registry) -> None:
    models.opened.client.set_registered_model_alias(NAME, "champion", GOOD)
    promote(models.opened, ALIKE)

    recorded = roll_back(models.opened, None, "the old one was better")

    assert (GOOD, 1) == (models.champion, recorded.entry.restores)
    assert ["found", "promote", "rollback"] == [r.entry.move for r in models.opened.ledger.read().recorded]


def test_a_pin_that_cannot_be_written_is_told_and_what_is_served_here_stays(three: Registry) -> None:
    file, pinned = three.opened.artefacts.model_tag, three.pinned
    partial = f".{file.name}.{os.uname().nodename}-{os.getpid()}.partial"
    file.with_name(partial).mkdir()  # in the way of the new one

    with pytest.raises(LedgerError, match=r"entry 4 made version 2 champion, but .*model_tag cannot be written: Is a"):
        roll_back(three.opened, None, "it was worse")
    assert (ALIKE, pinned) == (three.champion, three.pinned)


def test_an_entry_that_does_not_say_what_it_served_cannot_be_brought_back(three: Registry) -> None:
    version = registry.version_of(three.opened.client, NAME, GOOD)
    entry = three.opened.entry("promote", "champion", version, "by other code")
    three.opened.ledger.append(entry, three.opened.ledger.read(), version)

    with pytest.raises(LedgerError, match="entry 4 does not say which files it served"):
        roll_back(three.opened, 4, "settle it")


def test_without_a_ledger_there_is_nothing_to_roll_back_to(models: Registry) -> None:
    with pytest.raises(LedgerError, match="no entry to roll back to"):
        roll_back(models.opened, None, "why not")


def test_a_damaged_copy_in_the_model_store_is_replaced_by_a_rollback(three: Registry) -> None:
    tag = next(r.entry.served["tag"] for r in three.opened.ledger.read().recorded if r.number == 2)
    file = Path(bentoml.models.get(tag).path) / "contract.json"
    file.write_text(json.dumps({}))

    roll_back(three.opened, 2, "it was worse")

    assert three.pinned == tag
    assert json.loads((Path(bentoml.models.get(tag).path) / "contract.json").read_text())["model_version"] == ALIKE
