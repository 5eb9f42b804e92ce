"""Makes Feast's import several times faster, and with it every command and start, if imported before Feast.

At import, Feast lets typeguard rewrite the source of its classes to check argument types at run time. mypy checks our
calls already. typeguard's only switch is Python's `-O`, which would also remove the asserts of tests.
"""

from typing import Any

import typeguard


def _as_it_is(target: Any = None, **_: object) -> Any:
    return target if target is not None else _as_it_is


typeguard.typechecked = _as_it_is
