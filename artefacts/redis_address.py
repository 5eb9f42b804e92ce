"""Parses `REDIS_URL`, and writes it in feast's own connection format."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from contract.errors import ContractError

RedisKind = Literal["redis", "redis_sentinel", "redis_cluster"]
_KINDS: dict[str, RedisKind] = {"": "redis", "sentinel": "redis_sentinel", "cluster": "redis_cluster"}
_DEFAULT_PORT: dict[RedisKind, int] = {"redis": 6379, "redis_sentinel": 26379, "redis_cluster": 6379}
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_DIGITS = re.compile(r"[0-9]{1,5}")
_FORMS = (
    "redis[s]://[user[:password]@]host[:port][/db], "
    "redis[s]+sentinel://[user[:password]@]host[:port][,host[:port]…]/master[/db] or "
    "redis[s]+cluster://[user[:password]@]host[:port][,host[:port]…]"
)


@dataclass(frozen=True)
class RedisAddress:
    """Address of one Redis deployment.

    kind: feast's name for it: one server, a master with Sentinels, or a cluster.
    hosts: (host, port) of the server, of the Sentinels, or of some cluster nodes.
    master: the master's name in the Sentinels; empty for the other kinds.
    tls_files: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` → path; the system's defaults apply to the others.
    """

    kind: RedisKind
    hosts: tuple[tuple[str, int], ...]
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    master: str = ""
    tls: bool = False
    tls_files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str) -> "RedisAddress":
        """Parse a URL.

        Raises:
            ContractError: it is malformed. The message quotes no part of it, because it may hold a password.
        """
        try:
            return cls._read(url)
        except ContractError:
            raise
        except (ValueError, LookupError):
            if "[" in url and "]" in url:  # some Python versions cannot split bracketed hosts in a list
                raise ContractError("REDIS_URL: feast cannot carry an IPv6 address; use a host name") from None
            raise ContractError(f"REDIS_URL must look like {_FORMS}") from None

    @classmethod
    def _read(cls, url: str) -> "RedisAddress":
        parts = urlsplit(url)
        scheme, _, kind_word = parts.scheme.partition("+")
        kind = _KINDS[kind_word]
        credentials, _, hosts_text = parts.netloc.rpartition("@")
        hosts = tuple(_host(text, _DEFAULT_PORT[kind]) for text in hosts_text.split(","))
        path = [part for part in parts.path.split("/") if part]
        master = path.pop(0) if kind == "redis_sentinel" else ""
        database = _number(path.pop(0)) if path and kind != "redis_cluster" else 0
        if scheme not in ("redis", "rediss") or path or parts.fragment or (kind == "redis" and len(hosts) > 1):
            raise ValueError
        if master and not _NAME.fullmatch(master):
            raise ContractError("REDIS_URL: the name of a master holds letters, digits, '.', '-' and '_' only")
        username, _, password = (unquote(part, errors="strict") for part in credentials.partition(":"))
        return cls(
            kind=kind,
            hosts=hosts,
            database=database,
            username=username,
            password=password,
            master=master,
            tls=scheme == "rediss",
            tls_files=_tls_files(parts.query, scheme),
        )

    def feast_connection_string(self, options: Mapping[str, str] | None = None) -> str:
        """`host:port[,host:port…],key=value,…`, the format of feast's Redis store.

        Args:
            options: additional keyword arguments of the Redis client, e.g. `socket_timeout`.

        Raises:
            ContractError: a part holds a comma or quote, which feast's format cannot express. The message does not
                quote it.
        """
        arguments = {} if self.kind == "redis_cluster" else {"db": str(self.database)}
        for name, value in (("username", self.username), ("password", self.password), *self.tls_files.items()):
            if value:
                if set(value) & set(",'\""):
                    raise ContractError(f"REDIS_URL: feast cannot carry a {name} with a comma or a quote")
                # feast decodes values as JSON where it can, which would make the password 123 a number
                arguments[name] = json.dumps(value)
        if self.tls:
            arguments["ssl"] = "true"
        arguments.update(options or {})
        hosts = [f"{host}:{port}" for host, port in self.hosts]
        return ",".join([*hosts, *(f"{key}={value}" for key, value in arguments.items())])


def _host(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("[") or text.count(":") > 1:
        raise ContractError("REDIS_URL: feast cannot carry an IPv6 address; use a host name")
    host, colon, port = text.partition(":")
    number = _number(port) if colon else default_port
    if not _NAME.fullmatch(host) or not 0 < number < 65536:
        raise ValueError
    return host, number


def _number(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise ValueError  # int() also accepts signs, spaces, underscores and non-ASCII digits
    return int(text)


def _tls_files(query: str, scheme: str) -> dict[str, str]:
    given = parse_qsl(query, strict_parsing=bool(query), keep_blank_values=True, errors="strict")
    files = dict(given)
    if not files.keys() <= set(_TLS_FILES):
        raise ContractError(f"REDIS_URL: an unknown parameter; {', '.join(_TLS_FILES)} are known")
    if len(files) < len(given) or not all(files.values()):
        raise ContractError("REDIS_URL: a parameter is given twice or empty")
    if files and scheme != "rediss":
        raise ContractError("REDIS_URL: TLS files need rediss")
    if "ssl_keyfile" in files and "ssl_certfile" not in files:
        raise ContractError("REDIS_URL: ssl_keyfile needs ssl_certfile")
    return files
