"""docs/settings.md is what the settings classes say; no other page names a setting that is gone."""

import os
import re
from collections.abc import Iterator

import pytest
from pydantic_settings import BaseSettings

from deploy.settings_page import settings_page, variable_of
from jobs.features.settings import FeaturesSettings
from jobs.settings import JobsSettings
from service.settings import ServiceSettings
from tests.unit.docs.pages import CURRENT, text_of
from training.settings import TrainingSettings

PAGE = text_of("docs/settings.md")
CLASSES = (ServiceSettings, JobsSettings, FeaturesSettings, TrainingSettings)


def known() -> Iterator[str]:
    for settings in CLASSES:
        yield from (variable_of(settings, name) for name in settings.model_fields)


def test_the_page_is_as_it_would_be_written_now() -> None:
    assert settings_page() == PAGE, "run: make generated"


def test_the_page_does_not_depend_on_the_environment_or_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_PATH", os.devnull)
    monkeypatch.setenv("SERVICE_MAX_BATCH", "7")

    assert settings_page() == PAGE


@pytest.mark.parametrize("settings", CLASSES)
def test_every_setting_is_on_the_page_with_its_default(settings: type[BaseSettings]) -> None:
    for name, field in settings.model_fields.items():
        row = re.search(rf"^\| `{variable_of(settings, name)}` \| ([^|]*) \|", PAGE, re.MULTILINE)
        assert row, f"{variable_of(settings, name)} is not on the page"
        if field.default_factory:
            assert "the use case's" == row.group(1).strip()
        elif field.default not in ("", None):
            shown = row.group(1).strip().strip("`")
            assert shown == f"{field.default:g}" if isinstance(field.default, float) else shown == str(field.default)


def test_the_page_lists_no_setting_that_is_gone() -> None:
    assert set(known()) == set(re.findall(r"`((?:SERVICE|JOBS|TRAINING)_[A-Z_]+)` \|", PAGE))


@pytest.mark.parametrize("name", CURRENT)
def test_every_setting_that_a_page_names_exists(name: str) -> None:
    shown = set(re.findall(r"\b((?:SERVICE|JOBS|TRAINING)_[A-Z_]*[A-Z])\b(?!_?[*…])", text_of(name)))

    assert set() == shown - set(known())
