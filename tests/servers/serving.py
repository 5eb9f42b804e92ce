"""A service of a test's own: `bentoml serve` in the loop's tree, with other settings."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.loop import Answer, Loop, call, free_port

START_SECONDS = 90.0


@dataclass(frozen=True)
class Service:
    """A running `bentoml serve`.

    log: everything that it printed.
    """

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        return call(self.url, method, path, body, headers)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        return sum(samples(str(self.call("GET", "/metrics").body), name, **labels))

    def health(self) -> tuple[int, int]:
        """What `/readyz` and `/livez` say; zeros if nobody listens yet."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.call("GET", "/readyz").status, self.call("GET", "/livez").status
        except OSError:
            return 0, 0

    def stop(self) -> None:
        """End it as an operator would, and wait until it has."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


def samples(metrics: str, name: str, **labels: str) -> list[float]:
    """The values of this name that have these labels, in Prometheus' text format."""
    found = []
    for line in metrics.splitlines():
        sample = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if sample and all(f'{key}="{value}"' in (sample.group(1) or "") for key, value in labels.items()):
            found.append(float(sample.group(2)))
    return found


@contextmanager
def serving(loop: Loop, folder: Path, *options: str, **environment: str) -> Iterator[Service]:
    """A service that is ready, and ends with the block. Args as of `started`."""
    with started(loop, folder, *options, **environment) as service:
        wait_until(lambda: service.health() == (200, 200), START_SECONDS)
        yield service


@contextmanager
def started(loop: Loop, folder: Path, *options: str, **environment: str) -> Iterator[Service]:
    """A service that may not answer yet, and ends with the block.

    Args:
        folder: for its BentoML home and its log. A home of its own, because two servers on one wipe each other's
            metrics.
        options: of `bentoml serve`.
        environment: what it has beyond the loop's; BENTOML_PORT, if it is to have a certain one.
    """
    shutil.copytree(Path(loop.environment["BENTOML_HOME"]) / "models", folder / "bentoml" / "models")
    log, port = folder / "serve.log", int(environment.get("BENTOML_PORT", free_port()))
    with log.open("w") as output:
        process = subprocess.Popen(
            [f"{loop.environment['VENV']}/bin/bentoml", "serve", "--port", str(port), *options],
            cwd=loop.root,
            env={**loop.environment, "BENTOML_HOME": str(folder / "bentoml"), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    service = Service(port, process, log)
    try:
        yield service
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
