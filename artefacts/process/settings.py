"""What every plane says of its settings, which are environment variables with a prefix of its own."""

from collections.abc import Iterable


def unknown_variables(variables: Iterable[str], prefix: str, settings: Iterable[str]) -> list[str]:
    """Those that are called like a setting and are none, most likely misspelt; sorted.

    Args:
        variables: names of environment variables.
        settings: names of the settings, without the prefix.
    """
    known = {f"{prefix}{name}".upper() for name in settings}
    return sorted(name for name in variables if name.upper().startswith(prefix) and name.upper() not in known)
