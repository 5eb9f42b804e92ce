"""Definitions are registered by one process at a time, and nobody ever reads half of a registry."""

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from feast.protos.feast.core.Registry_pb2 import Registry

from artefacts.addresses import Artefacts
from jobs.feature_store import apply, open_feature_store, tell_materialized
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


def test_what_was_applied_during_a_materialization_is_not_undone_at_its_end(tmp_path: Path) -> None:
    registry = tmp_path / "registry.db"
    artefacts = Artefacts.of({"FEAST_REGISTRY": str(registry), "REDIS_URL": "redis://127.0.0.1:1"}, root=tmp_path)
    apply(artefacts)
    store = open_feature_store(artefacts)
    view = store.get_feature_view("customer_lifetime")
    applied = Registry.FromString(registry.read_bytes())
    for other in applied.feature_views:
        other.spec.description = "applied meanwhile"
    registry.write_bytes(applied.SerializeToString())

    tell_materialized(artefacts, store, view, datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))

    told = {other.spec.name: other for other in Registry.FromString(registry.read_bytes()).feature_views}
    assert {"applied meanwhile"} == {other.spec.description for other in told.values()}
    assert 1 == len(told["customer_lifetime"].meta.materialization_intervals)
