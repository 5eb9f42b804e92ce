"""Fills the templates of HTML pages. A page is one file that loads nothing; all values in it are escaped text."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from artefacts.process.printable import printable

_TEMPLATES = Path(__file__).with_name("templates")


@cache
def environment() -> Environment:
    """The templates, with autoescape. A name that a template does not know is an error."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_to_safe_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["thousands"] = lambda value: f"{value:,}"
    made.filters["percent"] = lambda value, digits=1: f"{value:.{digits}%}"
    made.filters["g"] = lambda value, digits=3: f"{value:.{digits}g}"
    return made


def render(template: str, values: Mapping[str, Any]) -> str:
    """A page.

    Args:
        template: name of a file in `templates/`.
        values: names in the template → values.
    """
    return environment().get_template(template).render(values)


def to_text(value: object) -> str:
    """A value for people: nothing for None, times in ISO 8601, numbers with up to 9 digits."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _to_safe_text(value: object) -> object:
    """Jinja passes every value through here before it escapes it. What is HTML already stays."""
    return value if hasattr(value, "__html__") else printable(to_text(value))
