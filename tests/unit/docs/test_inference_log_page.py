"""What docs/inference-log.md shows can be run as it stands."""

import re
from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest

from scoring.inference_log import log_table
from service.inference_log.files import Limits, LogFiles
from tests.loop import SOURCE
from tests.models.answers import answers, small_model

PAGE = (SOURCE / "docs" / "inference-log.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_log_can_be_read_as_shown_while_it_is_written(
    snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = log_table(answers(small_model(tmp_path / "model"), 10))
    files = LogFiles(tmp_path / "var" / "inference_log", Limits(10**9, 600, 30))
    files.append(rows, datetime(2026, 3, 1, tzinfo=UTC))
    files.close()
    files.append(rows, datetime(2026, 3, 2, tzinfo=UTC))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}

    with redirect_stdout(StringIO()):
        exec(snippet, names)  # noqa: S102  # our own words

    assert 10 == len(names["log"])  # type: ignore[arg-type]
