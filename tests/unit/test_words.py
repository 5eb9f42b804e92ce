"""The general rooms know no use case: they have none of its words."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = re.compile(r"churn|customer|\borders\b|order_id|recency|retained", re.IGNORECASE)
ROOMS = ("artefacts", "contract", "scoring", "service", "jobs")
OWN = {
    "contract/version_1.py",  # the names that every model of version 1 answers with
    "artefacts/addresses.py",  # the folder of the default use case
}
OWN_FOLDERS = ("jobs/features/", "jobs/stream/")  # they build and stream the shipped use case's own events


@pytest.mark.parametrize("room", ROOMS)
def test_a_general_room_has_no_word_of_a_use_case(room: str) -> None:
    names = {file: str(file.relative_to(ROOT)) for file in sorted((ROOT / room).rglob("*.py"))}
    files = [file for file, name in names.items() if name not in OWN and not name.startswith(OWN_FOLDERS)]

    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if WORDS.search(line)
    ]

    assert [] == found
