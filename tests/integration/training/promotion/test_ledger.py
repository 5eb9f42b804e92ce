"""The ledger: no entry is lost, of two moves at once one counts, and tampering shows."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tests.integration.training.conftest import ALIKE, GOOD, NAME, SETTINGS, WORSE, Registry, trained
from training.__main__ import main
from training.errors import LedgerError
from training.promotion.ledger import ENTRY, Ledger, Recorded
from training.promotion.listing import models as listing
from training.promotion.moves import promote, roll_back
from training.promotion.registry_moves import OpenedRegistry
from training.tracking import registry
from training.tracking.actor import actor


def tamper(models: Registry, number: int, was: str, now: str) -> None:
    ledger = models.opened.ledger.name
    document = models.opened.client.get_model_version(ledger, str(number)).tags[ENTRY]
    assert was in document
    models.opened.client.set_model_version_tag(ledger, str(number), ENTRY, document.replace(was, now))


@pytest.fixture
def moved(three: Registry) -> Registry:
    """Four entries: trained, promoted, forced, rolled back."""
    roll_back(three.opened, None, "it was worse")
    return three


def test_every_move_is_there_in_order_and_the_chain_is_whole(moved: Registry) -> None:
    chain = moved.opened.ledger.read()

    assert ["train", "promote", "promote", "rollback"] == [r.entry.move for r in chain.recorded]
    assert [(None, "1"), ("1", "2"), ("2", "3"), ("3", "2")] == [
        (r.entry.from_version, r.entry.to_version) for r in chain.recorded
    ]
    assert () == chain.breaks


def test_an_altered_entry_is_found_out(moved: Registry) -> None:
    tamper(moved, 3, "a mistake", "a triumph")

    (broken,) = moved.opened.ledger.read().breaks
    assert "entry 4 does not follow entry 3: that one was altered" in broken
    assert f"the chain breaks: {broken}" in listing(moved.opened)


def test_a_removed_entry_is_found_out(moved: Registry) -> None:
    moved.opened.client.delete_model_version(moved.opened.ledger.name, "3")

    (broken,) = moved.opened.ledger.read().breaks
    assert "entry 4 does not follow entry 2" in broken


def test_an_entry_that_cannot_be_read_is_named_and_moves_go_on(moved: Registry) -> None:
    tamper(moved, 2, '"promote"', '"lunch"')

    assert ["entry 2 cannot be read", "entry 3 does not follow"] == [
        sentence[: len(start)]
        for sentence, start in zip(
            moved.opened.ledger.read().breaks, ["entry 2 cannot be read", "entry 3 does not follow"], strict=True
        )
    ]
    roll_back(moved.opened, 3, "on we go")
    assert WORSE == moved.champion


def test_of_two_promotions_from_two_machines_at_once_one_wins_and_the_other_moves_nothing(models: Registry) -> None:
    trained(models)
    here, there = models.opened, models.elsewhere()
    both = Barrier(2)

    def at_once(opened: OpenedRegistry, version: str) -> Recorded | LedgerError:
        chain = opened.settled()
        number = registry.version_of(opened.client, NAME, version)
        entry = opened.entry("promote", "champion", number, "at once")
        both.wait()
        try:
            return opened.move(entry, chain, number)
        except LedgerError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(at_once, (here, there), (ALIKE, WORSE)))

    (won,) = (o for o in outcomes if isinstance(o, Recorded))
    (lost,) = (o for o in outcomes if isinstance(o, LedgerError))
    assert won.entry.to_version == models.champion
    assert f"another move came first, entry {won.number}" in str(lost)
    chain = here.ledger.read()
    assert () == chain.breaks
    assert [won.number] == [r.behind for r in chain.recorded if r.behind is not None]
    assert f"not made, entry {won.number} came first" in listing(here)


def test_a_promotion_that_was_overtaken_while_it_was_judged_moves_neither_alias_nor_pin(
    models: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(models)
    elsewhere = models.elsewhere()
    judged = Ledger.append

    def overtaken(ledger: Ledger, *arguments: object) -> Recorded:
        if ledger is models.opened.ledger:
            promote(elsewhere, WORSE, reason="faster", force=True)
        return judged(ledger, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "append", overtaken)
    pinned = models.pinned

    with pytest.raises(LedgerError, match="another move came first, entry 2"):
        promote(models.opened, ALIKE)
    assert (WORSE, pinned) == (models.champion, models.pinned)


def test_many_writers_lose_no_entry(models: Registry) -> None:
    version = registry.version_of(models.opened.client, NAME, GOOD)
    # Each is its own process elsewhere: a client and a ledger of its own.
    opened = [OpenedRegistry.of(models.opened.artefacts, SETTINGS) for _ in range(4)]

    def write(one: OpenedRegistry) -> int:
        written = 0
        while written < 3:
            try:
                one.ledger.append(one.entry("challenge", None, version, "x"), one.ledger.read(), version)
            except LedgerError:
                continue
            written += 1
        return written

    with ThreadPoolExecutor(4) as pool:
        assert 12 == sum(pool.map(write, opened))
    chain = models.opened.ledger.read()
    assert () == chain.breaks
    assert 12 == sum(r.behind is None for r in chain.recorded)


def test_a_move_that_was_cut_off_between_ledger_and_alias_is_told(moved: Registry) -> None:
    version = registry.version_of(moved.opened.client, NAME, GOOD)
    entry = moved.opened.entry("promote", "champion", version, "cut off")
    moved.opened.ledger.append(entry, moved.opened.ledger.read(), version)

    with pytest.raises(LedgerError, match="a move was cut off; `make rollback TO=5"):
        moved.opened.settled()
    assert "warning: the alias champion is at 2, entry 5 says otherwise" in listing(moved.opened)


def test_models_lists_versions_aliases_verdicts_and_the_ledger(moved: Registry) -> None:
    listed = listing(moved.opened).splitlines()

    newest, second, first = (line for line in listed if line[:1].isdigit())
    assert "refused: " in newest
    assert all(word in second for word in ("champion", "passed; against version 1: passed", "pinned"))
    assert "champion" not in first
    assert any("FORCED: a mistake (objections: " in line for line in listed)
    assert any("restores entry 2: it was worse" in line for line in listed)
    assert f"the chain is whole; its head is {moved.opened.ledger.read().head}" in listed[-1]


def test_without_any_version_models_says_so(
    models: Registry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", models.opened.artefacts.mlflow_tracking_uri)
    monkeypatch.setenv("TRAINING_MODEL_NAME", "nobody")

    assert 0 == main(["models"])
    assert "no version of 'nobody' is registered in sqlite:///" in capsys.readouterr().out


def test_a_registry_that_is_no_database_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_text("shopping list: " + "milk, " * 50)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{tmp_path}/mlflow.db")

    assert 1 == main(["models"])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert [f"error: the MLflow registry at {uri} cannot be opened: file is not a database"] == said


def test_an_entry_is_json_that_others_can_read(moved: Registry) -> None:
    documents = [
        json.loads(version.tags[ENTRY])
        for version in registry.versions_of(moved.opened.client, moved.opened.ledger.name)
    ]

    assert {"move", "alias", "from_version", "to_version", "at", "who", "why", "evidence", "previous"} <= set(
        documents[0]
    )
    assert all(document["at"].endswith("Z") for document in documents)


def test_ci_is_named_as_the_actor_and_a_person_with_the_machine() -> None:
    assert "octocat" == actor({"GITHUB_ACTOR": "octocat"})
    assert "@" in actor({})
