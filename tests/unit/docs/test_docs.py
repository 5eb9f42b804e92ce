"""The README keeps up with the code: its commands exist, its settings are all of them, its files are there."""

import json
import re

import pytest
from pydantic_settings import BaseSettings

from jobs.settings import JobsSettings
from service.api.schemas import PredictRequest, PredictResponse
from service.settings import ServiceSettings
from tests.loop import SOURCE
from training.settings import TrainingSettings

README = (SOURCE / "README.md").read_text()
MAKEFILE = (SOURCE / "Makefile").read_text()
DOCUMENTS = {
    path.name: path.read_text()
    for path in (SOURCE / "README.md", SOURCE / "CONTRIBUTING.md", SOURCE / "docs" / "model.md")
}


@pytest.mark.parametrize("settings", [ServiceSettings, JobsSettings, TrainingSettings])
def test_every_setting_is_in_the_readme_with_its_default(settings: type[BaseSettings]) -> None:
    prefix = settings.model_config["env_prefix"]
    for name, field in settings.model_fields.items():
        row = re.search(rf"^\| `{prefix}{name.upper()}` \| ([^|]*) \|", README, re.MULTILINE)
        assert row, f"{prefix}{name.upper()} is not in the README"
        if field.default not in ("", None):
            shown = row.group(1).strip().strip("`")
            assert shown == f"{field.default:g}" if isinstance(field.default, float) else shown == str(field.default)


def test_the_readme_lists_no_setting_that_is_gone() -> None:
    known = {
        f"{settings.model_config['env_prefix']}{name.upper()}"
        for settings in (ServiceSettings, JobsSettings, TrainingSettings)
        for name in settings.model_fields
    }
    shown = set(re.findall(r"`((?:SERVICE|JOBS|TRAINING)_[A-Z_]+)`", README))
    assert known == shown


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_every_make_target_that_a_document_names_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for command in re.findall(r"(?:`|^)make ([a-z -]+?)(?:`| [A-Z_]+=)", DOCUMENTS[name], re.MULTILINE):
        assert set(command.split()) <= targets, f"make {command}"


def test_make_help_lists_every_target_a_user_may_call() -> None:
    declared = {t for line in re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE) for t in line.split()}
    described = set(re.findall(r"^([a-z-]+):[^\n]*## ", MAKEFILE, re.MULTILINE))
    assert declared == described


def test_the_curl_and_the_answer_in_the_readme_have_the_designed_shape() -> None:
    body = re.search(r"curl -s http://127\.0\.0\.1:3000/predict .* -d '(.*)'", README)
    answer = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert body
    assert answer

    PredictRequest.model_validate_json(body.group(1))
    shown = json.loads(answer.group(1))
    PredictResponse.model_validate(shown)
    assert PredictResponse.model_fields.keys() == shown.keys()


def test_every_file_and_folder_that_the_readme_links_or_names_exists() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    named = re.findall(r"`((?:contract|feature_repo|training|service|jobs|tests|docs)/[\w/.]*)`", README)
    assert linked
    assert named
    assert [] == [path for path in linked + named if not (SOURCE / path).exists()]
