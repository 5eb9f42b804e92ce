"""What training writes into the challenger file is what the service reads."""

import pytest
from pydantic import ValidationError

from artefacts.challenger_file import Challenge


def test_the_file_is_one_line_of_json() -> None:
    said = '{"tag": "churn:v2-0123456789ab", "mode": "canary", "share": 0.25}\n'
    assert said == Challenge(tag="churn:v2-0123456789ab", mode="canary", share=0.25).to_text()


def test_what_was_written_is_read() -> None:
    written = Challenge(tag="churn:v2-0123456789ab", mode="shadow")
    assert written == Challenge.from_text(written.to_text())


@pytest.mark.parametrize(
    "content", ['{"tag": "a:1"}', '{"tag": "a:1", "mode": "off"}', '{"tag": "a:1", "mode": "shadow", "share": 2}', "[]"]
)
def test_other_content_is_refused(content: str) -> None:
    with pytest.raises(ValidationError):
        Challenge.from_text(content)
