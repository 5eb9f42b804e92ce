"""The general rooms know no use case: they have none of its words."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = re.compile(r"churn|customer|\borders\b|order_id|recency|retained", re.IGNORECASE)
ROOMS = [
    *("artefacts/log_rows.py", "artefacts/output_columns.py", "artefacts/prediction_rows.py"),
    *("scoring/agreement.py", "scoring/entity_ids.py", "scoring/inference_log.py", "scoring/outcomes.py"),
    *("scoring/pseudonyms.py", "scoring/task_outputs.py", "scoring/models"),
    *("jobs/batch", "jobs/inference_log", "jobs/skew", "jobs/commands/predictions.py", "service/inference_log"),
]
"""Files and folders that are general; each room is added when it is."""


@pytest.mark.parametrize("room", ROOMS)
def test_a_general_room_has_no_word_of_a_use_case(room: str) -> None:
    place = ROOT / room
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]

    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if WORDS.search(line)
    ]

    assert [] == found
