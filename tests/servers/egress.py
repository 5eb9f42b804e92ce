"""Whom the Python processes of a command look up or connect to beyond this machine; and a machine without a network."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scoring.no_telemetry import OFF

_RECORDER = """
import os, socket, sys

_HERE = {None, "", "localhost", socket.gethostname(), "0.0.0.0", "::", "::1"}

def _watch(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    host = host.decode(errors="replace") if isinstance(host, bytes) else host
    if host in _HERE or str(host).startswith("127."):
        return
    with open(os.environ["EGRESS_LOG"], "a") as log:
        log.write(f"{event} {host} by {sys.orig_argv}\\n")

sys.addaudithook(_watch)
"""

_OF_A_CI = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION", "BUILDKITE", "TF_BUILD", "JENKINS_URL")


@dataclass(frozen=True)
class Egress:
    """Records into a folder."""

    folder: Path

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` with the recorder, and without what keeps libraries silent: settings of ours, and signs of a CI."""
        recorder = self.folder / "recorder" / "sitecustomize.py"
        recorder.parent.mkdir(parents=True, exist_ok=True)
        recorder.write_text(_RECORDER)
        kept = {name: value for name, value in base.items() if name not in OFF and name not in _OF_A_CI}
        return {**kept, "PYTHONPATH": str(recorder.parent), "EGRESS_LOG": str(self.folder / "egress.log")}

    @property
    def recorded(self) -> list[str]:
        """A line for each name that was looked up and each address that was connected to, of other machines."""
        log = self.folder / "egress.log"
        return log.read_text().splitlines() if log.exists() else []

    def alone(self, root: Path, environment: Mapping[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment, a Python one, where there is no network but loopback."""
        program = Path(environment.get("VENV", sys.prefix)) / "bin" / command[0]
        return subprocess.run(
            ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", str(program), *command[1:]],
            cwd=root,
            env=self.environment(environment),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def why_never_alone() -> str | None:
    """Why no command can be run without a network here; None if it can."""
    probe = ["unshare", "--net", "sh", "-c", "ip link set lo up"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        return "there is no unshare"
    return None if done.returncode == 0 else f"no network namespace can be made: {done.stderr.strip()}"
