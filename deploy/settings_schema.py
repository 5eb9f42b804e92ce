"""The settings classes as the chart's values.schema.json describes them; `make generated` writes them there."""

import json
from typing import Any

from pydantic_settings import BaseSettings

from artefacts.addresses import PROJECT_ROOT
from deploy.settings_page import field_docstrings, variable_of
from jobs.features.settings import FeaturesSettings
from jobs.settings import JobsSettings
from service.settings import ServiceSettings
from training.settings import TrainingSettings

SCHEMA = PROJECT_ROOT / "deploy/helm/model-service/values.schema.json"
NOT_TAKEN = {"SERVICE_API_KEYS", "SERVICE_API_KEYS_FILE", "SERVICE_INFERENCE_LOG_ID_KEY_FILE", "SERVICE_IMAGE"}
"""What the chart sets itself, from secrets that its values name and from the image; and keys, which are no values."""


def settings_schema(*classes: type[BaseSettings]) -> dict[str, Any]:
    """Variable → its type, bounds and docstring, of all but what is `NOT_TAKEN`."""
    described: dict[str, Any] = {}
    for settings in classes:
        said = field_docstrings(settings)
        for name, offered in settings.model_json_schema()["properties"].items():
            variable = variable_of(settings, name)
            if variable not in NOT_TAKEN:
                value = next((v for v in offered.get("anyOf", []) if v["type"] != "null"), offered)
                facts = {k: v for k, v in value.items() if k not in ("title", "default", "format")}
                described[variable] = {"description": said[name], **facts}
    return described


def expected_settings() -> dict[str, dict[str, Any]]:
    """Key of the values → the settings that may be in it."""
    return {
        "service": settings_schema(ServiceSettings),
        "jobs": settings_schema(JobsSettings, FeaturesSettings, TrainingSettings),
    }


if __name__ == "__main__":
    document = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for key, properties in expected_settings().items():
        document["properties"][key]["properties"]["settings"]["properties"] = properties
    SCHEMA.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
