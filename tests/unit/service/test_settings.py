"""Settings come from the environment, are checked, and are all written down."""

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from artefacts.addresses import PROJECT_ROOT
from artefacts.process.settings import unknown_variables
from contract.validation import setting_problem
from jobs.settings import JobsSettings
from service.settings import ServiceSettings
from training.settings import TrainingSettings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServiceSettings.model_fields:
        monkeypatch.delenv(f"SERVICE_{name.upper()}", raising=False)


def test_without_an_environment_the_defaults_hold() -> None:
    assert {
        "model_tag": "",
        "deadline_ms": 250,
        "max_batch": 1000,
        "max_body_bytes": 1_000_000,
        "max_concurrency": 256,
        "log_level": "INFO",
    } == {name: getattr(ServiceSettings(), name) for name in _DESIGNED}


_DESIGNED = ("model_tag", "deadline_ms", "max_batch", "max_body_bytes", "max_concurrency", "log_level")


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("model_tag", "customer_churn:v3-abc", "customer_churn:v3-abc"),
        ("deadline_ms", "12.5", 12.5),
        ("max_batch", "10", 10),
        ("max_body_bytes", "2000", 2000),
        ("max_concurrency", "1", 1),
        ("log_level", "DEBUG", "DEBUG"),
    ],
)
def test_a_setting_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str, expected: object
) -> None:
    monkeypatch.setenv(f"SERVICE_{name.upper()}", given)

    assert expected == getattr(ServiceSettings(), name)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("deadline_ms", "0"),
        ("deadline_ms", "-1"),
        ("deadline_ms", "nan"),
        ("deadline_ms", "inf"),
        ("deadline_ms", "soon"),
        ("max_batch", "0"),
        ("max_batch", "1.5"),
        ("max_body_bytes", "999"),
        ("max_concurrency", "0"),
        ("log_level", "LOUD"),
        ("log_level", ""),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_setting_named(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str
) -> None:
    monkeypatch.setenv(f"SERVICE_{name.upper()}", given)

    with pytest.raises(ValidationError, match=name):
        ServiceSettings()


def test_a_rule_between_settings_is_told_in_one_plain_line() -> None:
    with pytest.raises(ValidationError) as caught:
        ServiceSettings(max_batch=10_000, max_rows=100)

    assert "SERVICE_MAX_ROWS must be at least SERVICE_MAX_BATCH (10000)" == setting_problem(caught.value, "SERVICE_")


def test_a_setting_out_of_range_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_MAX_BATCH", "0")
    with pytest.raises(ValidationError) as caught:
        ServiceSettings()

    assert "SERVICE_MAX_BATCH: Input should be greater than or equal to 1" == setting_problem(caught.value, "SERVICE_")


def test_variables_that_are_no_settings_are_found() -> None:
    given = ["SERVICE_MAX_BACTH", "SERVICE_MAX_BATCH", "service_max_rows", "SERVICE", "PATH", "SERVICE_API_KEY"]

    assert ["SERVICE_API_KEY", "SERVICE_MAX_BACTH"] == unknown_variables(
        given, "SERVICE_", ServiceSettings.model_fields
    )


@pytest.mark.parametrize(
    "variable",
    [
        f"{settings.model_config['env_prefix']}{name.upper()}"
        for settings in (ServiceSettings, JobsSettings, TrainingSettings)
        for name in settings.model_fields
    ],
)
def test_every_setting_is_documented(variable: str) -> None:
    assert f"`{variable}`" in (PROJECT_ROOT / "docs" / "settings.md").read_text()


@pytest.mark.parametrize("settings", [ServiceSettings, JobsSettings, TrainingSettings])
def test_every_setting_has_a_default(settings: type[BaseSettings]) -> None:
    assert [] == [name for name, field in settings.model_fields.items() if field.is_required()]
