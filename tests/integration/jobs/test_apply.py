"""Definitions are registered by one process at a time, and nobody ever reads half of a registry."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from feast.protos.feast.core.Registry_pb2 import Registry

from tests.loop import SOURCE


def applying(registry: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", "apply"],
        cwd=SOURCE,
        env={**os.environ, "FEAST_REGISTRY": str(registry), "REDIS_URL": "redis://127.0.0.1:1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_that_apply_at_once_both_do_and_a_reader_sees_whole_registries_alone(tmp_path: Path) -> None:
    registry = tmp_path / "registry.db"
    with applying(registry) as first:
        said, _ = first.communicate(timeout=120)
    assert 0 == first.returncode, said
    wanted = {view.spec.name for view in Registry.FromString(registry.read_bytes()).feature_views}
    assert wanted
    seen: list[set[str]] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            found = Registry.FromString(registry.read_bytes())
            seen.append({view.spec.name for view in found.feature_views})
            time.sleep(0.005)  # the others need the machine, too

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with applying(registry) as one, applying(registry) as other:
            outputs = [each.communicate(timeout=240)[0] for each in (one, other)]
    finally:
        over.set()
        reader.join()

    assert [0, 0] == [one.returncode, other.returncode], outputs
    assert len(seen) > 10
    assert all(each == wanted for each in seen)
    assert ["registry.db", "registry.db.lock"] == sorted(file.name for file in tmp_path.iterdir())
