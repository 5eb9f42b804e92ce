"""docs/settings.md, written from the settings classes by `make generated`."""

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_settings import BaseSettings

from artefacts.addresses import PROJECT_ROOT, Artefacts
from jobs.features.settings import FeaturesSettings
from jobs.settings import JobsSettings
from service.settings import ServiceSettings
from training.churn.source.addresses import OrderAddresses
from training.settings import TrainingSettings

PAGE = PROJECT_ROOT / "docs" / "settings.md"

OTHERS = (
    ("REDIS_URL_FILE", "none", "File that holds `REDIS_URL`, as secrets are mounted. `REDIS_URL` wins."),
    ("OFFLINE_STORE_TYPE", "files", "`spark` for production on Spark (docs/production.md)."),
    (
        "MODEL_TRUSTED_TYPES",
        "none",
        "Types that a stored pipeline may hold beyond our list: full names, separated by spaces. Must be the same for "
        "training, service and jobs (docs/model.md#another-estimator).",
    ),
    ("BENTOML_HOME", "`~/bentoml`", "BentoML's stores. Two servers on one home delete each other's metrics."),
)
"""Variables that no settings class reads: name, default, meaning."""

_HEAD = """# Settings

<!-- Written by `make generated` from the settings classes. Do not edit. -->

All settings are environment variables. A variable with one of the prefixes below that is not in these tables is
ignored, and the process warns about it.

`make` has variables of its own: `HOST` and `PORT` of the service, `VENV` (the environment's folder) and `PYTHON` (the
interpreter that makes it). `make` lists those of each target.
"""

_LIMITS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}", "max_length": "≤ {} characters"}

_TYPES = {
    "string": "text",
    "boolean": "`true`, `false`",
    "integer": "whole number",
    "number": "number",
    "folder": "folder",
}


def settings_page() -> str:
    """The page, from the classes alone."""
    return "\n".join(
        [
            _HEAD,
            "## Addresses\n",
            "Every process reads these (`artefacts/addresses.py`).\n",
            *_table(chain(_addresses(Artefacts), OTHERS)),
            "\n## Orders\n",
            "Where the orders of the churn use case lie (`training/churn/source/addresses.py`).\n"
            "Read by `python -m training`, and by `features`, `score-stream` and `labels` of `python -m jobs`.\n",
            *_table(_addresses(OrderAddresses)),
            "\n## Service\n",
            "Read by the service (`service/settings.py`).\n",
            *_table(_settings(ServiceSettings)),
            "\n## Jobs\n",
            "Read by `python -m jobs` (`jobs/settings.py`, `jobs/features/settings.py`).\n",
            *_table(chain(_settings(JobsSettings), _settings(FeaturesSettings))),
            "\n## Training\n",
            "Read by `python -m training` (`training/settings.py`, `artefacts/cutoffs.py`).\n",
            *_table(_settings(TrainingSettings)),
            "",
        ]
    )


def field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Field → the docstring below it, in one line; the fields of base classes come first."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not issubclass(each, BaseModel) or each in (BaseModel, BaseSettings):
            continue
        (tree,) = ast.parse(inspect.getsource(each)).body
        assert isinstance(tree, ast.ClassDef)  # noqa: S101  # the source of a class is a class
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def variable_of(settings: type[BaseSettings], field: str) -> str:
    """The environment variable of a field."""
    return f"{settings.model_config['env_prefix']}{field}".upper()


def _addresses(addresses: type[Artefacts] | type[OrderAddresses]) -> Iterator[tuple[str, ...]]:
    root = Path("/project")
    defaults = addresses.of({}, root)
    for field, text in field_docstrings(addresses).items():
        variable, meaning = re.fullmatch(r"`(\w+)`,? (.*)", text).groups()  # type: ignore[union-attr]
        default = getattr(defaults, field)
        shown = (
            "the embedded server"
            if default is None
            else f"`{str(default).replace(f'{root}/', '').replace(f'{PROJECT_ROOT}/', '')}`"
        )
        yield variable, shown, f"{meaning[0].upper()}{meaning[1:]}"


def _settings(settings: type[BaseSettings]) -> Iterator[tuple[str, ...]]:
    meanings = field_docstrings(settings)
    for name, field in settings.model_fields.items():
        yield (
            variable_of(settings, name),
            "the use case's" if field.default_factory else _default(field.default),
            _allowed(settings, name),
            meanings[name],
        )


def _default(value: Any) -> str:
    if value in ("", None) and not isinstance(value, bool):
        return "none"
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{shown}`" if isinstance(value, str) else shown


def _allowed(settings: type[BaseSettings], name: str) -> str:
    schema = settings.model_json_schema()["properties"][name]
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    limits = [
        template.format(f"{limit:,}" if isinstance(limit, int) else f"{limit:g}")
        for item in settings.model_fields[name].metadata
        for attribute, template in _LIMITS.items()
        if (limit := getattr(item, attribute, None)) is not None
    ]
    return ", ".join(limits) or _TYPES[schema.get("format") or schema.get("type", "folder")]


def _table(rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    all_rows = list(rows)
    titles = (
        ("variable", "default", "meaning") if len(all_rows[0]) == 3 else ("variable", "default", "allowed", "meaning")
    )
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for variable, *middle, meaning in all_rows:
        cells = [f"`{variable}`", *middle, _linked(meaning)]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _linked(text: str) -> str:
    """Names of pages as links from the page's own folder."""
    return re.sub(r"\bdocs/([\w/-]+\.md)(#[\w-]+)?", r"[\1](\1\2)", text)


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
