"""A copy of the checkout with stores of its own, in which a user's commands run, and a clock that they go by."""

import json
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from artefacts.build_files import UNDER_WAY
from tests.loop import Answer, bare_environment, call, copy_source, free_port
from tests.servers.redis_servers import until, valkey

COMMAND_SECONDS = 900
START_SECONDS = 180


@dataclass
class Clock:
    """The time that commands and servers go by, whatever time it is: of a preloaded library, built of clock.c.

    file: so many seconds it is ahead of the machine's.
    """

    library: Path
    file: Path
    ahead: timedelta = timedelta(0)

    @classmethod
    def built(cls, folder: Path) -> "Clock":
        """With the library, which takes a C compiler.

        Raises:
            OSError, subprocess.CalledProcessError: there is none, or it cannot make a library for this machine.
        """
        library, source = folder / "clock.so", Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        file = folder / "clock"
        file.write_bytes(bytes(8))
        return cls(library, file)

    def set(self, at: datetime) -> None:
        """What it is from now on, for processes that run already, too."""
        seconds = round((at - datetime.now(UTC)).total_seconds())
        self.ahead = timedelta(seconds=seconds)
        with self.file.open("r+b") as file:  # it is mapped
            file.write(struct.pack("=q", seconds))

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "DAILY_LIFE_CLOCK": str(self.file)}


class CommandFailed(AssertionError):
    """A command of the user's ended with an error."""


@dataclass
class Stream:
    """`make score-stream`, which is killed and started again."""

    place: "Place"
    process: "subprocess.Popen[bytes] | None" = None
    dropped: int = 0
    kills: int = 0

    @property
    def folder(self) -> Path:
        return self.place.root / "var" / "stream"

    @property
    def log(self) -> Path:
        return self.place.root / "stream.log"

    def start(self) -> None:
        before = self._followings()
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                ["make", "score-stream"],
                cwd=self.place.root,
                env={**self.place.environment, "JOBS_SPARK_MASTER": "local[2]", "JOBS_STREAM_TRIGGER_SECONDS": "3"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(
            lambda: self._followings() > before or self.process is None or self.process.poll() is not None,
            START_SECONDS,
        )
        assert self.process.poll() is None, self.log.read_text()[-3000:]

    def kill(self) -> None:
        """As a machine that loses its power would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=60)

    def drop(self, orders: pd.DataFrame) -> None:
        """A file of orders, moved in whole."""
        self.dropped += 1
        name = f"{self.dropped:05}.json"
        lines = orders.assign(event_timestamp=orders["event_timestamp"].map(lambda at: at.isoformat()))
        written = self.folder / name
        written.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / "incoming").mkdir(exist_ok=True)
        lines.to_json(written, orient="records", lines=True)
        written.rename(self.folder / "incoming" / name)

    def orders_done(self) -> set[str]:
        """Ids of the orders that the stream has dealt with, as far as finished batches say."""
        done = [batch for batch in self.place.streamed_orders.glob("batch=*") if not (batch / UNDER_WAY).exists()]
        return {
            order
            for batch in done
            for file in batch.glob("part-*.parquet")
            for order in pd.read_parquet(file)["order_id"]
        }

    def _followings(self) -> int:
        return self.log.read_text(encoding="utf-8").count("following ") if self.log.exists() else 0


@dataclass
class Place:
    """Where the user works.

    root: the copy of the checkout.
    """

    root: Path
    environment: dict[str, str]
    clock: Clock
    url: str = ""
    commands: list[str] = field(default_factory=list)

    @property
    def streamed_orders(self) -> Path:
        return self.root / "var" / "data" / "streamed_orders"

    def make(self, *arguments: str) -> str:
        """A command of the user's; what it printed."""
        ended = subprocess.run(
            ["make", *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        with (self.root / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"$ make {' '.join(arguments)}\n{ended.stdout}{ended.stderr}")
        if ended.returncode:
            raise CommandFailed(f"make {' '.join(arguments)}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def ask(self, path: str, request_id: str, body: object) -> Answer:
        return call(self.url, "POST", path, body, {"X-Request-ID": request_id})

    def build(self) -> dict[str, Any]:
        """What the build in place says of itself."""
        found: dict[str, Any] = json.loads(
            (self.root / "var/offline_store/current/build.json").read_text(encoding="utf-8")
        )
        return found

    @contextmanager
    def serving(self) -> Iterator[None]:
        """`bentoml serve`, for as long as the block lasts."""
        port = free_port()
        with (self.root / "serve.log").open("w") as output:
            process = subprocess.Popen(
                [f"{self.environment['VENV']}/bin/bentoml", "serve", "--port", str(port)],
                cwd=self.root,
                env={**self.environment, "SERVICE_INFERENCE_LOG": "true"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            assert process.poll() is None, (self.root / "serve.log").read_text()[-3000:]
            try:
                return call(self.url, "GET", "/livez").status == 200 and call(self.url, "GET", "/readyz").status == 200
            except OSError:
                return False

        try:
            until(ready, START_SECONDS)
            yield
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


@contextmanager
def place(folder: Path, model_tag: Path, models: Path) -> Iterator[Place]:
    """A copy of this checkout with a Redis of its own.

    Args:
        model_tag: the file that names the imported model.
        models: BentoML's folder `models`, with that model.
    """
    root = folder / "checkout"
    copy_source(root)
    (root / "var").mkdir()
    shutil.copy2(model_tag, root / "var" / "model_tag")
    shutil.copytree(models, folder / "bentoml" / "models")
    # Older than any environment: the copy must not have make install the packages again.
    os.utime(root / "requirements" / "dev.txt", (0, 0))
    clock = Clock.built(folder)
    with valkey(folder / "redis") as server:
        environment: Mapping[str, str] = {**bare_environment(folder), **clock.environment(), "REDIS_URL": server.url}
        yield Place(root, dict(environment), clock)
