"""Imported before Feast, this takes most of the time off its import, and so off every command and every start.

Feast has typeguard rewrite the source of its classes whenever it is imported, to check the types of arguments that
reach them. Ours are checked by mypy. Python's own switch for it, `-O`, would take the asserts out of tests, too.
"""

from typing import Any

import typeguard


def _as_it_is(target: Any = None, **_: object) -> Any:
    return target if target is not None else _as_it_is


typeguard.typechecked = _as_it_is
