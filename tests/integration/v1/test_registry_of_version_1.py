"""Models that version 1 registered: listed, imported and rolled back to, byte for byte, with a ledger that is whole."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.v1.record import FOLDER
from tests.fixtures.v1.restored import NAME, REGISTRY, SETTINGS, TAGS, Home, stored_files

OLDER, CHAMPION = "1", "2"
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With the recorded registry and today's features, which these tests leave as it is."""
    made = Home(tmp_path_factory.mktemp("v1"))
    made.restore_registry()
    made.said("jobs", "apply")
    return made


def listed(text: str) -> Iterator[str]:
    """Lines of `make models`; the times at which versions were created are those of the restoration."""
    versions, _, ledger = text.partition("\nledger ")
    yield from TIME.sub("#", versions).splitlines()
    yield from ledger.splitlines()


def test_versions_and_ledger_are_listed_as_version_1_listed_them(home: Home) -> None:
    recorded = (FOLDER / "outputs" / "models.txt").read_text(encoding="utf-8")

    assert list(listed(recorded)) == list(listed(home.said("training", "models")))


@pytest.mark.parametrize("version", TAGS)
def test_a_version_is_imported_with_the_same_tag_bytes_and_record(home: Home, version: str) -> None:
    before = home.pinned
    tag = TAGS[version]

    assert f"imported {tag}," in home.said("training", "import-model", "--model", version)

    assert tag == home.pinned
    folder = home.stored(tag)
    assert stored_files(version) == {f.name: f.read_bytes() for f in folder.iterdir() if f.name != "model.yaml"}
    written, recorded = (
        yaml.safe_load(text)
        for text in (
            (folder / "model.yaml").read_text(encoding="utf-8"),
            REGISTRY["model_store"][tag.partition(":")[2]]["model.yaml"],
        )
    )
    run_id = home.client.get_model_version(NAME, version).run_id
    assert {**recorded["labels"], "mlflow_run_id": run_id} == written["labels"]
    assert without_differences(recorded["metadata"]) == without_differences(written["metadata"])
    (home.root / "model_tag").write_text(before + "\n", encoding="utf-8")


def without_differences(metadata: dict[str, object]) -> dict[str, object]:
    """ONNX Runtime's sums differ between processors by some 1e-7."""
    assert isinstance(metadata["comparison"], dict)
    compared = {name: value for name, value in metadata["comparison"].items() if "difference" not in name}
    return {**metadata, "comparison": compared}


@pytest.fixture(scope="module")
def rolled_back(home: Home, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str]:
    """A copy in which the older version is champion again, and what the rollback printed."""
    copy = home.copied(tmp_path_factory.mktemp("v1") / "copy")
    return copy, copy.said("training", "rollback", "--reason", "as it was before")


def entry_of(home: Home, number: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(home.client.get_model_version(f"{NAME}.ledger", str(number)).tags["entry"])
    return document


def test_the_older_champion_is_rolled_back_to_byte_for_byte(rolled_back: tuple[Home, str]) -> None:
    home, said = rolled_back

    moved = f"entry 6 of {NAME}.ledger: {NAME} version 1 is champion; {TAGS[OLDER]} is pinned here"
    assert moved == said.splitlines()[-1]
    written = home.stored(TAGS[OLDER])
    assert stored_files(OLDER) == {f.name: f.read_bytes() for f in written.iterdir() if f.name != "model.yaml"}
    served = json.loads(REGISTRY["ledger"][0]["tags"]["entry"])["served"]
    made = {name: entry_of(home, 6)[name] for name in ("move", "from_version", "to_version", "restores", "served")}
    assert made == {"move": "rollback", "from_version": CHAMPION, "to_version": OLDER, "restores": 1, "served": served}


def test_a_version_passes_the_gate_with_the_figures_that_it_had(rolled_back: tuple[Home, str], tmp_path: Path) -> None:
    home = rolled_back[0].copied(tmp_path / "copy")
    assert TAGS[OLDER] == home.pinned

    home.said("training", "promote", "--version", CHAMPION, **SETTINGS)

    assert TAGS[CHAMPION] == home.pinned
    aliases = home.client.get_registered_model(NAME).aliases
    assert {"champion": CHAMPION} == {alias: str(version) for alias, version in aliases.items()}
    recorded, made = (
        {name: value for name, value in evidence.items() if not name.startswith("comparison")}
        for evidence in (json.loads(REGISTRY["ledger"][4]["tags"]["entry"])["evidence"], entry_of(home, 7)["evidence"])
    )
    recorded["verdicts"] = {what.replace("customers", "rows"): said for what, said in recorded["verdicts"].items()}
    assert NUMBER.sub("#", json.dumps(recorded)) == NUMBER.sub("#", json.dumps(made))
    numbers = [[float(found) for found in NUMBER.findall(json.dumps(evidence))] for evidence in (recorded, made)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5, abs=1e-6)
    assert "the chain is whole; its head is" in home.said("training", "models")


def test_the_older_version_becomes_the_shadow_of_the_champion(home: Home, tmp_path: Path) -> None:
    home = home.copied(tmp_path / "copy")

    said = home.said("training", "challenge", "--version", OLDER, "--mode", "shadow")

    assert f"{NAME} version 1 shadows version 2, on " in said
    challenger = json.loads((home.root / "challenger.json").read_text(encoding="utf-8"))
    assert {"tag": TAGS[OLDER], "mode": "shadow", "share": 0.1} == challenger


def test_todays_features_keep_what_version_1_was_promised(home: Home, tmp_path: Path) -> None:
    home = home.copied(tmp_path / "copy")
    files = []
    for version in TAGS:
        files.append(tmp_path / f"{version}.json")
        files[-1].write_bytes(stored_files(version)["contract.json"])

    said = home.said("training", "check-contracts", *map(str, files))

    assert said.startswith("kept: ")


def test_an_altered_entry_of_the_recorded_ledger_breaks_its_chain(home: Home, tmp_path: Path) -> None:
    home = home.copied(tmp_path / "copy")
    altered = REGISTRY["ledger"][1]["tags"]["entry"].replace("passed the gate", "was nice")
    home.client.set_model_version_tag(f"{NAME}.ledger", "2", "entry", altered)

    said = home.said("training", "models")

    assert "warning: the chain breaks: entry 3 does not follow entry 2: that one was altered, or one between" in said
    assert "the chain is whole" not in said


def test_the_champions_label_is_read_from_its_contract(home: Home) -> None:
    said = home.said("training", "champion")

    assert f"version {CHAMPION} of {NAME} is champion, and predicts churn, known 90 days later\n" == said
