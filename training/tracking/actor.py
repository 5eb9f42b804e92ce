"""Who changes the registry."""

import getpass
import os
import socket
from collections.abc import Mapping

_ACTORS = ("PROMOTION_ACTOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR")


def actor(environ: Mapping[str, str] = os.environ) -> str:
    """Who moves: the user that CI names, else user@host."""
    for name in _ACTORS:
        if environ.get(name):
            return environ[name]
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container whose user id has no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
