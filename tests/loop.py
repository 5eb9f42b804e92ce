"""The whole loop, run once per test session as a user runs it: `make run` in a copy of the source tree."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1]
ROOMS = ("artefacts", "contract", "feature_repo", "jobs", "requirements", "scoring", "service", "training")
FILES = ("Makefile", "bentofile.yaml", "pyproject.toml", "README.md")
READY_SECONDS = 550


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower-case names) and decoded body of one HTTP answer."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Loop:
    """A served loop.

    root: the copy of the source tree, with its own `var/`.
    output: everything `make run` printed until it was ready.
    """

    root: Path
    environment: dict[str, str]
    url: str
    output: str

    def make(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return make(self.root, self.environment, *arguments, timeout=timeout)

    def call(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        return call(self.url, method, path, body, headers)


def call(url: str, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  # loopback
        url + path, data, {"Content-Type": "application/json", **(headers or {})}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return _answer(response.status, response.headers.items(), response.read())
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error.headers.items(), error.read())


def _answer(status: int, headers: Any, raw: bytes) -> Answer:
    try:
        body = json.loads(raw)
    except ValueError:
        body = raw.decode()
    return Answer(status, {name.lower(): value for name, value in headers}, body)


def copy_source(to: Path) -> None:
    to.mkdir(parents=True)
    for room in ROOMS:
        shutil.copytree(SOURCE / room, to / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        if (SOURCE / name).exists():
            shutil.copy2(SOURCE / name, to / name)


def bare_environment(home: Path) -> dict[str, str]:
    """A user's environment: nothing of ours set, the tools' homes in a folder of this session's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SERVICE_", "JOBS_", "TRAINING_", "MLFLOW_"))}
    for name in (
        "REDIS_URL",
        "REDIS_URL_FILE",
        "FEAST_REGISTRY",
        "OFFLINE_STORE_DIR",
        "ORDERS_PATH",
        "STREAMED_ORDERS_DIR",
        "MODEL_TAG_PATH",
        "MAKEFLAGS",
        "MAKELEVEL",
    ):
        kept.pop(name, None)
    return {**kept, "BENTOML_HOME": str(home / "bentoml"), "VENV": sys.prefix, "BENTOML_DO_NOT_TRACK": "True"}


def place_environment(root: Path, **addresses: Path) -> dict[str, str]:
    """A bare environment whose offline store, registry, runs and models lie below a folder; trainings are short.

    Args:
        addresses: variables with further paths.
    """
    (root / "home").mkdir()
    own = {
        "OFFLINE_STORE_DIR": root / "offline_store",
        "MATERIALIZE_RUNS_PATH": root / "materialize.jsonl",
        "FEAST_REGISTRY": root / "registry.db",
        "BENTOML_HOME": root / "bentoml",
        **addresses,
    }
    return {
        **bare_environment(root / "home"),
        **{name: str(path) for name, path in own.items()},
        "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db",
        "TRAINING_BOOTSTRAP_RESAMPLES": "20",
        "TRAINING_TRAINING_CUTOFFS": "1",
    }


def make(
    root: Path, environment: dict[str, str], *arguments: str, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """True if something of this machine takes connections there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def make_run(
    root: Path, environment: dict[str, str], target: str = "run", host: str = "", url: str = "http://127.0.0.1"
) -> Iterator[Loop]:
    """`make run` until it is ready; ended, with all it started but Redis, when the block ends.

    Args:
        target: `serve` serves what `run` has made before.
        host: its HOST; empty leaves it out.
        url: where it is asked, without the port.
    """
    port = free_port()
    log = root / f"make-{target}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["make", target, f"PORT={port}", *([f"HOST={host}"] if host else [])],
            cwd=root,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while "Ready." not in log.read_text() or "Ctrl-C ends" not in log.read_text():
            assert process.poll() is None, f"make {target} ended early:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"make {target} was not ready in time:\n{log.read_text()}"
            time.sleep(0.2)
        yield Loop(root, environment, f"{url}:{port}", log.read_text())
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
