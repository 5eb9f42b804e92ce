"""Who may ask the running service: keys, their rotation without a restart, and no exposure without them."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.loop import Answer, Loop, call, free_port

ASK = ("POST", "/predict", {"customer_id": "00042"})
GUARDED = [
    ASK,
    ("POST", "/predict_batch", {"customer_ids": ["00042"]}),
    ("GET", "/model", None),
    ("POST", "/predict", b"{"),
]


@dataclass(frozen=True)
class Served:
    """A service of a test's own, and everything it has printed."""

    url: str
    log: Path

    def ask(self, authorization: str | None = None) -> Answer:
        headers = {} if authorization is None else {"Authorization": authorization}
        return call(self.url, *ASK, headers=headers)

    def get(self, path: str) -> Answer:
        return call(self.url, "GET", path)


@contextmanager
def serving(loop: Loop, folder: Path, host: str = "127.0.0.1", **environment: str) -> Iterator[Served]:
    """`bentoml serve` with a BentoML home of its own: two servers on one wipe each other's metrics."""
    shutil.copytree(Path(loop.environment["BENTOML_HOME"]) / "models", folder / "bentoml" / "models")
    log, port = folder / "serve.log", free_port()
    with log.open("w") as output:
        process = subprocess.Popen(
            [f"{loop.environment['VENV']}/bin/bentoml", "serve", "--host", host, "--port", str(port)],
            cwd=loop.root,
            env={**loop.environment, "BENTOML_HOME": str(folder / "bentoml"), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    served = Served(f"http://127.0.0.1:{port}", log)

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return served.get("/readyz").status == 200
        except OSError:
            return False

    try:
        wait_until(ready, 60)
        yield served
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def new_key(loop: Loop, name: str, file: Path) -> str:
    """A key from `make api-key`, which prints nothing else."""
    done = loop.make("api-key", f"NAME={name}", f"KEYS_FILE={file}")
    assert 0 == done.returncode, done.stderr
    (key,) = done.stdout.splitlines()
    assert key not in done.stderr
    return key


@dataclass(frozen=True)
class Guarded:
    """A service that has keys: the file of their hashes, and a key of `shop`."""

    served: Served
    file: Path
    key: str


@pytest.fixture(scope="module")
def guarded(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("api_keys")
    file = folder / "api_keys"
    key = new_key(loop, "shop", file)
    with serving(loop, folder, SERVICE_API_KEYS_FILE=str(file)) as served:
        yield Guarded(served, file, key)


@pytest.mark.parametrize(("method", "path", "body"), GUARDED)
@pytest.mark.parametrize("authorization", [None, "Bearer not-a-key", "Basic c2hvcDpzaG9w", "Bearer " + "x" * 5000])
def test_without_a_key_of_ours_every_call_is_401_in_the_designed_form(
    guarded: Guarded, method: str, path: str, body: object, authorization: str | None
) -> None:
    headers = {"X-Request-ID": "abc-1"} | ({} if authorization is None else {"Authorization": authorization})

    answer = call(guarded.served.url, method, path, body, headers)

    assert (401, "Bearer") == (answer.status, answer.headers["www-authenticate"])
    assert {"error", "request_id", "model"} == answer.body.keys()
    assert {"code", "message", "request_id"} == answer.body["error"].keys()
    assert ("unauthenticated", "abc-1") == (answer.body["error"]["code"], answer.body["request_id"])


def test_with_a_key_the_call_is_answered(guarded: Guarded) -> None:
    for authorization in (f"Bearer {guarded.key}", f"bearer {guarded.key}"):
        answer = guarded.served.ask(authorization)

        assert (200, "ok") == (answer.status, answer.body["status"])


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_health_and_metrics_need_no_key(guarded: Guarded, path: str) -> None:
    assert 200 == guarded.served.get(path).status


def test_a_key_is_rotated_without_a_restart(loop: Loop, guarded: Guarded) -> None:
    old = new_key(loop, "rotating", guarded.file)
    wait_until(lambda: guarded.served.ask(f"Bearer {old}").status == 200)

    new = new_key(loop, "rotating", guarded.file)
    wait_until(lambda: guarded.served.ask(f"Bearer {new}").status == 200)
    assert 200 == guarded.served.ask(f"Bearer {old}").status, "both are valid until the old one is taken out"

    lines = guarded.file.read_text().splitlines()
    guarded.file.write_text("\n".join(lines[:-2] + lines[-1:]) + "\n")
    wait_until(lambda: guarded.served.ask(f"Bearer {old}").status == 401)
    assert [200, 200] == [guarded.served.ask(f"Bearer {key}").status for key in (new, guarded.key)]


def test_a_broken_file_of_keys_leaves_them_as_they_were(guarded: Guarded) -> None:
    whole = guarded.file.read_text()
    guarded.file.write_text(f"{whole}planted\n")
    warning = "the API keys stay as they were"

    def warned() -> bool:
        assert 200 == guarded.served.ask(f"Bearer {guarded.key}").status
        return warning in guarded.served.log.read_text()

    wait_until(warned)
    guarded.file.write_text(whole)
    time.sleep(1.1)

    assert 200 == guarded.served.ask(f"Bearer {guarded.key}").status
    assert "planted" not in guarded.served.log.read_text()


def test_log_and_metrics_name_the_key_and_never_hold_it(guarded: Guarded) -> None:
    assert 200 == guarded.served.ask(f"Bearer {guarded.key}").status
    assert 401 == guarded.served.ask(f"Bearer x{guarded.key}").status

    metrics, log = str(guarded.served.get("/metrics").body), guarded.served.log.read_text()

    hashes = [line.partition(":")[2] for line in guarded.file.read_text().splitlines()]
    for told in (metrics, log):
        assert "shop" in told
        for secret in (guarded.key, *hashes):
            assert secret not in told


def refused(loop: Loop, *options: str, **environment: str) -> str:
    """The line with which `bentoml serve` ends instead of serving."""
    done = subprocess.run(
        [f"{loop.environment['VENV']}/bin/bentoml", "serve", "--port", str(free_port()), *options],
        cwd=loop.root,
        # A home of its own: a server that starts wipes the metrics of those that run on the same one.
        env={**loop.environment, "BENTOML_HOME": str(loop.root / "var" / "refused"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 1 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("not starting: ")]
    return line


def test_open_to_other_machines_without_keys_it_does_not_start(loop: Loop) -> None:
    everywhere = "0.0.0.0"  # noqa: S104

    for message in (refused(loop, "--host", everywhere), refused(loop, BENTOML_HOST=everywhere)):
        assert f"{everywhere} is open to other machines and there are no API keys" in message
        for way_out in ("make api-key", "SERVICE_API_KEYS_FILE", "SERVICE_ALLOW_ANONYMOUS=true"):
            assert way_out in message


def test_keys_that_cannot_be_read_end_the_start(loop: Loop, tmp_path: Path) -> None:
    file = tmp_path / "api_keys"
    file.write_text("# keys\nplanted\n")

    message = refused(loop, "--host", "127.0.0.1", SERVICE_API_KEYS_FILE=str(file))

    assert f"{file}, line 2: " in message
    assert "planted" not in message


def test_open_to_other_machines_it_starts_when_told_that_everybody_may_ask(loop: Loop, tmp_path: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104
    with serving(loop, tmp_path, everywhere, SERVICE_ALLOW_ANONYMOUS="true") as served:
        assert 200 == served.ask().status


def test_open_to_other_machines_it_starts_with_keys(loop: Loop, tmp_path: Path) -> None:
    file = tmp_path / "api_keys"
    key = new_key(loop, "shop", file)
    everywhere = "0.0.0.0"  # noqa: S104
    with serving(loop, tmp_path, everywhere, SERVICE_API_KEYS_FILE=str(file)) as served:
        assert [401, 200] == [served.ask().status, served.ask(f"Bearer {key}").status]
