"""Debian's Prometheus, Alertmanager and node exporter, with what deploy/ configures, for tests of what they tell."""

import json
import os
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.loop import SOURCE, call, free_port
from tests.servers.serving import wait_until

PROMETHEUS = SOURCE / "deploy" / "prometheus"
ALERTMANAGER = SOURCE / "deploy" / "alertmanager" / "alertmanager.yaml"
PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "amtool", "prometheus-node-exporter")
_missing = [program for program in PROGRAMS if shutil.which(program) is None]

needs_prometheus = pytest.mark.skipif(
    bool(_missing) and os.environ.get("CI") != "true",
    reason=f"needs Debian's prometheus, prometheus-alertmanager, prometheus-node-exporter; not there: {_missing}",
)


@dataclass
class Receiver:
    """A webhook that takes Slack's messages.

    messages: title and text of each, in their order.
    """

    url: str
    messages: list[tuple[str, str]] = field(default_factory=list)

    def got(self, status: str, *alerts: str) -> bool:
        """True if each of them has come with that status, `FIRING` or `RESOLVED`."""
        return {f"[{status}] {alert}" for alert in alerts} <= {title for title, _ in self.messages}


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Listens as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.messages += [(part["title"], part["text"]) for part in said["attachments"]]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Receiver(f"http://127.0.0.1:{server.server_port}/alerts")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()


@contextmanager
def node_exporter(reports: Path) -> Iterator[int]:
    """Shows the .prom files of a folder; the port."""
    port = free_port()
    only = ("--collector.disable-defaults", "--collector.textfile")
    options = (*only, f"--collector.textfile.directory={reports}", f"--web.listen-address=127.0.0.1:{port}")
    with _program("prometheus-node-exporter", options, reports.parent / "node-exporter.log", port, "/metrics"):
        yield port


@contextmanager
def alertmanager(folder: Path, to: Receiver) -> Iterator[int]:
    """With deploy/alertmanager/, but for the file that names the receiver, and at once; the port."""
    folder.mkdir()
    (folder / "alert_webhook").write_text(to.url)
    configuration = yaml.safe_load(ALERTMANAGER.read_text())
    configuration["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    (slack,) = configuration["receivers"][0]["slack_configs"]
    slack["api_url_file"] = str(folder / "alert_webhook")
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    options = (
        f"--config.file={folder / 'alertmanager.yaml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
    with _program("prometheus-alertmanager", options, folder / "alertmanager.log", port, "/-/ready"):
        yield port


@dataclass(frozen=True)
class Prometheus:
    """One that is ready."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API."""
        found = call(self.url, "GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        assert 200 == found.status, found
        return found.body["data"]

    def values(self, query: str) -> list[str]:
        """What a query gives now."""
        return [series["value"][1] for series in self.ask("query", query=query)["result"]]

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@contextmanager
def prometheus(folder: Path, targets: dict[str, Sequence[int]], alertmanager_port: int) -> Iterator[Prometheus]:
    """With deploy/prometheus/, but for addresses and patience: all is done every second, `for` is a second.

    Bounds and windows of the rules are as they are.

    Args:
        targets: ports by the name of the job.
    """
    folder.mkdir()
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (manager,) = configuration["alerting"]["alertmanagers"]
    manager["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]
    for scraped in configuration["scrape_configs"]:
        addresses = [f"127.0.0.1:{port}" for port in targets[scraped["job_name"]]]
        scraped["static_configs"] = [{"targets": addresses}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    shutil.copy2(PROMETHEUS / "old_names.yaml", folder)
    rules = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "for" in rule):
        rule["for"] = "1s"
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    port = free_port()
    options = (
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with _program("prometheus", options, folder / "prometheus.log", port, "/-/ready"):
        yield Prometheus(f"http://127.0.0.1:{port}")


@contextmanager
def _program(name: str, options: Sequence[str], log: Path, port: int, ready: str) -> Iterator[None]:
    """Runs as long as the block lasts, and is ready when it begins."""

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return call(f"http://127.0.0.1:{port}", "GET", ready).status == 200
        except OSError:
            return False

    with log.open("wb") as output:
        process = subprocess.Popen([name, *options], stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(answers, 30)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)
