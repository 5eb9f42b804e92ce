"""The README is short, and what it shows can be sent and is answered so."""

import json
import re
import tomllib

import pytest

from service.api.members.bodies import Bodies
from tests.fixtures.v1.record import contract
from tests.loop import SOURCE
from tests.unit.docs.pages import text_of

README = text_of("README.md")


def test_the_readme_is_at_most_a_hundred_lines() -> None:
    assert len(README.splitlines()) <= 100


def test_the_curl_in_the_readme_is_a_request() -> None:
    body = re.search(r"curl -s http://127\.0\.0\.1:3000/predict .* -d '(.*)'", README)
    assert body

    request = Bodies.of(contract()).requests.of_call["predict"].model_validate_json(body.group(1))
    assert not request.model_extra


@pytest.mark.parametrize("name", ["README.md", "docs/api.md"])
def test_the_answer_that_a_page_shows_has_the_designed_shape(name: str) -> None:
    answer = re.search(r"```json\n(.*?)```", text_of(name), re.DOTALL)
    assert answer

    shown = json.loads(answer.group(1))
    answer_body = Bodies.of(contract()).answers["predict"]
    answer_body.model_validate(shown)
    assert answer_body.model_json_schema()["properties"].keys() == shown.keys()


def test_the_layout_has_a_row_for_every_room() -> None:
    rooms = tomllib.loads((SOURCE / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    shown = re.findall(r"^\| `(\w+)/` \|", README, re.MULTILINE)

    assert sorted(rooms) == sorted(shown)
