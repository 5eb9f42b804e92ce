"""API keys: stored as hashes, several at once, so that they can be rotated without a restart."""

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from artefacts.process.file_access import why_unreadable
from artefacts.process.small_files import read_small_file
from service.errors import StartupError, UnauthenticatedError

logger = logging.getLogger(__name__)

ANONYMOUS = "anonymous"
"""The name of every client while no keys are configured."""

UNAUTHENTICATED = "unauthenticated"
"""The name of a client that has shown no valid key, or needs none."""

IN_PROCESS = "in_process"
"""The name of callers in the service's own process, of whom no key is asked."""

_RESERVED = (ANONYMOUS, UNAUTHENTICATED, IN_PROCESS)

KEY_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_ENTRY = re.compile(rf"({KEY_NAME.pattern}):([0-9a-fA-F]{{64}})")
_SCHEME = b"bearer "
_LONGEST_HEADER = 512
_SECONDS_BETWEEN_CHECKS = 1.0
_SECONDS_WITHOUT_THE_FILE = 60.0
"""How long keys stay valid while their file cannot be read. Longer is not safe: a key may have been removed from it."""


class UnreadableKeysError(StartupError):
    """The file cannot be read: it is gone, or no file descriptor is free. The next attempt may succeed."""


class StoredKey(NamedTuple):
    """A key as it is stored.

    A key is 256 bits from the operating system's random source, made by `make api-key`. So one plain sha256 is safe:
    nobody can try 2**256 keys, however fast the hash is. A password that a person chose can be guessed and needs a
    slow, salted hash; it must not be used as a key.

    name: the client. While its key is rotated, a client has two.
    digest: sha256 of the key, 32 bytes.
    """

    name: str
    digest: bytes


class ApiKeys:
    """The valid keys. Without keys every client may ask, as `anonymous`."""

    def __init__(
        self,
        from_variable: tuple[StoredKey, ...] = (),
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._from_variable = from_variable
        self._file = file
        self._clock = clock
        self._next_check = clock() + _SECONDS_BETWEEN_CHECKS
        self._stamp = None if file is None else _stamp(file)
        self._unread_since: float | None = None
        self._shut = False
        self._keys = self._read()
        self.configured = file is not None or bool(from_variable)

    @classmethod
    def of(cls, api_keys: str, api_keys_file: str, clock: Callable[[], float] = time.monotonic) -> "ApiKeys":
        """Read the keys of `SERVICE_API_KEYS` and those of the file that `SERVICE_API_KEYS_FILE` names.

        Args:
            api_keys: `name:sha256` entries between commas or white space; may be empty.
            api_keys_file: path of a file with one such entry per line, blank lines and `#` comments; may be empty.
            clock: seconds that only grow.

        Raises:
            StartupError: an entry is malformed or stands twice, the file cannot be read, or what is set holds no key.
        """
        entries = enumerate(re.findall(r"[^\s,]+", api_keys), start=1)
        from_variable = _parse((f"SERVICE_API_KEYS, entry {number}", entry) for number, entry in entries)
        if api_keys and not from_variable:
            raise StartupError("SERVICE_API_KEYS is set but holds no key; unset it or run `make api-key`")
        keys = cls(from_variable, Path(api_keys_file) if api_keys_file else None, clock)
        if keys.configured and not keys._keys:
            raise StartupError(f"{api_keys_file} holds no key; run `make api-key`")
        return keys

    @property
    def names(self) -> list[str]:
        """The names of the clients that have a key."""
        return sorted({key.name for key in self._keys})

    def authenticate(self, header: bytes | None) -> str:
        """Return the client's name for an `Authorization` header; `anonymous` if no keys are configured.

        All stored hashes are compared, each in constant time, so that timing tells nothing. The file of keys is read
        again if it has changed, at most once a second. If a line is wrong, the keys stay as they were. If the file
        cannot be read, it is tried again every second, and after a minute its keys are no longer valid.

        Raises:
            UnauthenticatedError: the header has no `Bearer` key, or an unknown one.
        """
        if not self.configured:
            return ANONYMOUS
        if self._file is not None and (now := self._clock()) >= self._next_check:
            self._next_check = now + _SECONDS_BETWEEN_CHECKS
            self._read_again_if_changed(self._file, now)
        if header is None or len(header) > _LONGEST_HEADER or header[: len(_SCHEME)].lower() != _SCHEME:
            raise UnauthenticatedError("an API key is needed, as `Authorization: Bearer <key>`")
        token = header[len(_SCHEME) :].strip(b" \t")
        digest = hashlib.sha256(token).digest()
        name = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                name = key.name
        if name is None or not token:  # the hash of the empty text may be stored
            raise UnauthenticatedError("the API key is not valid")
        return name

    def _read(self) -> tuple[StoredKey, ...]:
        if self._file is None:
            return self._from_variable
        keys = (*self._from_variable, *read_keys(self._file))
        if len({key.digest for key in keys}) < len(keys):
            raise StartupError(f"{self._file} holds a key that SERVICE_API_KEYS holds too")
        return keys

    def _read_again_if_changed(self, file: Path, now: float) -> None:
        stamp = _stamp(file)
        if stamp == self._stamp and self._unread_since is None:
            return
        try:
            self._keys = self._read()
        except UnreadableKeysError as error:
            self._go_without(error, now)
            return
        except StartupError as error:
            logger.warning("%s; the API keys stay as they were", error)
        else:
            # An empty file counts: removing the last key must shut its client out.
            logger.log(logging.INFO if self._keys else logging.WARNING, "API keys of %s: %s", file, self.names)
        self._stamp, self._unread_since, self._shut = stamp, None, False

    def _go_without(self, error: UnreadableKeysError, now: float) -> None:
        """Keep the keys of an unreadable file for a while, then accept none of them."""
        if self._unread_since is None:
            self._unread_since = now
            stay = f"the API keys stay as they were for at most {_SECONDS_WITHOUT_THE_FILE:g} s"
            logger.warning("%s; it is tried again every second, %s", error, stay)
        elif not self._shut and now - self._unread_since >= _SECONDS_WITHOUT_THE_FILE:
            self._shut, self._keys = True, self._from_variable
            logger.error("%s; none of its API keys is valid until it can be read again", error)


def read_keys(file: Path) -> tuple[StoredKey, ...]:
    """Read the keys of a file.

    Raises:
        UnreadableKeysError: the file cannot be read.
        StartupError: a line is wrong. The message has its number, never its text.
    """
    try:
        text = read_small_file(file).decode("utf-8-sig", errors="replace")  # text that is not UTF-8 is no entry
    except OSError as error:
        raise UnreadableKeysError(f"the API keys in {file} cannot be read: {why_unreadable(file, error)}") from None
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return _parse((f"{file}, line {number}", line) for number, line in lines if line and not line.startswith("#"))


def new_key(name: str) -> tuple[str, str]:
    """Make a key.

    Returns:
        the key, which only the client gets, and the `name:sha256` entry to store.

    Raises:
        ValueError: the name cannot be used.
    """
    if not KEY_NAME.fullmatch(name) or name in _RESERVED:
        raise ValueError(f"a key's name has the form {KEY_NAME.pattern} and is none of {', '.join(_RESERVED)}")
    key = secrets.token_urlsafe(32)
    return key, f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def _parse(entries: Iterable[tuple[str, str]]) -> tuple[StoredKey, ...]:
    """Parse pairs of place and entry. Errors name the place, never the entry: it may be a key, pasted by mistake."""
    keys: list[StoredKey] = []
    seen: dict[bytes, str] = {}
    for place, entry in entries:
        found = _ENTRY.fullmatch(entry)
        if found is None or found[1] in _RESERVED:
            raise StartupError(f"{place}: not a `name:sha256` entry as `make api-key` writes it")
        key = StoredKey(found[1], bytes.fromhex(found[2]))
        if key.digest in seen:
            raise StartupError(f"{place}: the same key as {seen[key.digest]}")
        seen[key.digest] = place
        keys.append(key)
    return tuple(keys)


def _stamp(file: Path) -> tuple[int, ...] | None:
    """Return what changes when a file is replaced or written to; None if it does not exist."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
