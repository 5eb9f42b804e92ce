"""Puts the project's addresses in the place of a `feature_store.yaml`'s local defaults.

The YAML holds literal defaults, so that Feast's own commands work in its folder: a registry at a relative path, and
the embedded Redis at its socket. Every plane takes `FEAST_REGISTRY` and `REDIS_URL` instead of them. An address that is
no such default stays: an absolute path or socket, a database, a host, a variable.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

import yaml

_SOCKET = re.compile(r"unix_socket_path=([^,]*)")
_VARIABLES = {
    name: "${" + name + "}"
    for name in ("FEAST_REGISTRY", "REDIS_TYPE", "REDIS_SENTINEL_MASTER", "REDIS_CONNECTION_STRING")
}


def at_addresses(said: Mapping[str, Any], addresses: Mapping[str, str]) -> dict[str, Any]:
    """Replace the local defaults.

    Args:
        said: what the YAML says.
        addresses: as `Artefacts.feast_environment` names them; a default without an address stays.
    """
    found = dict(said)
    if "FEAST_REGISTRY" in addresses:
        match found.get("registry"):
            case str(path) if _is_local(path):
                found["registry"] = addresses["FEAST_REGISTRY"]
            case {"path": str(path), **others} if _is_local(path) and others.get("registry_type", "file") == "file":
                found["registry"] = {**others, "path": addresses["FEAST_REGISTRY"]}
    match found.get("online_store"):
        case {"type": "redis", "connection_string": str(connection), **others} if _is_local_socket(connection):
            if "REDIS_CONNECTION_STRING" in addresses:
                found["online_store"] = {
                    **others,
                    "type": "redis",
                    "redis_type": addresses["REDIS_TYPE"],
                    "sentinel_master": addresses["REDIS_SENTINEL_MASTER"],
                    "connection_string": addresses["REDIS_CONNECTION_STRING"],
                }
    return found


def yaml_with_variables(text: str, without: Collection[str] = ()) -> str | None:
    """A YAML in which variables stand for the local defaults, for Feast's own commands at other addresses.

    Args:
        without: members to leave out.

    Returns:
        None if the YAML has no local defaults, or is not a mapping: Feast says what is wrong with it.
    """
    try:
        said, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    if root is None or not isinstance(said, dict) or (found := at_addresses(said, _VARIABLES)) == said:
        return None
    # Only what changes is written anew: elsewhere quotes around a variable decide what its value may hold.
    root.value = [
        (name, member if found[name.value] == said[name.value] else _Blocks().represent_data(found[name.value]))
        for name, member in root.value
        if name.value not in without
    ]
    written: str = yaml.serialize(root, Dumper=yaml.SafeDumper)
    return written


class _Blocks(yaml.representer.SafeRepresenter):
    """Variables as block scalars: Feast expands a YAML's text before it parses it, and any value must survive."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "${" in data else None)


_Blocks.add_representer(str, _Blocks.represent_str)


def _is_local(path: str) -> bool:
    return "://" not in path and "$" not in path and not PurePath(path).is_absolute()


def _is_local_socket(connection: str) -> bool:
    found = _SOCKET.search(connection)
    return found is not None and _is_local(found[1])
