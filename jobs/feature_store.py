"""Opening Feast for the jobs: apply definitions, materialize rows."""

import logging
import os
import subprocess
import sys
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from contract.artefacts import PROJECT_ROOT, Artefacts
from jobs.build_features import read_build
from jobs.errors import JobError

if TYPE_CHECKING:
    from feast import FeatureStore

FEATURE_REPO = PROJECT_ROOT / "feature_repo"
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_REDIS_OPTIONS = {"socket_connect_timeout": "2"}
_REDIS_FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException)  # the latter is no RedisError


def apply(artefacts: Artefacts) -> None:
    """Register the definitions of `feature_repo/` with Feast's own command.

    Raises:
        JobError: `feast apply` failed; its last lines are quoted.
    """
    Path(artefacts.feast_registry).parent.mkdir(parents=True, exist_ok=True)
    feast = Path(sys.executable).with_name("feast")
    done = subprocess.run(
        [str(feast), "apply"],
        cwd=FEATURE_REPO,
        env={**os.environ, **artefacts.feast_environment()},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:] or ["it said nothing"]
        raise JobError("feast apply failed:\n  " + "\n  ".join(said))


def open_feature_store(artefacts: Artefacts) -> "FeatureStore":
    """Feast's store over the project's artefacts; imports feast, which takes seconds."""
    os.environ.update(artefacts.feast_environment(_REDIS_OPTIONS))
    from feast import FeatureStore

    # It warns that serve_features_while_materializing matters only with a SQL registry; the YAML serves both.
    logging.getLogger("feast.repo_config").setLevel(logging.ERROR)
    # ibis 12 calls a name that duckdb 1.5 deprecates; feast switches the warning on.
    warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)
    return FeatureStore(repo_path=str(FEATURE_REPO))


def materialize(artefacts: Artefacts, until: datetime, replace: bool = False) -> None:
    """Copy the latest row of every customer and view, at `until`, to the online store.

    Always from the beginning of time and over what is stored: a late or corrected order changes rows whose
    event timestamps lie before the last run, and may change a value under the timestamp it already has.
    Feast's own run looks at neither. Where the rows come from another source of orders than those stored
    before, or with `replace`, the stored rows are removed first.

    Raises:
        JobError: no Redis address, Redis unreachable, or no features.
    """
    if artefacts.redis_url is None:
        raise JobError("REDIS_URL is not set and no embedded server runs; `make redis` starts one")
    until = min(until, datetime.now(UTC))
    build = read_build(artefacts.offline_store)
    store = open_feature_store(artefacts)
    views = {view.name: view for view in store.list_feature_views()}
    if not views:
        raise JobError(f"{artefacts.feast_registry}: no feature views; run `make apply` first")
    marker = f"{store.project}:materialized_source"
    # Not in feast's public interface, but the only place that knows the layout of its keys, and that has the client
    # which the rows go through, whatever kind of Redis it is for.
    online_store = store._get_provider().online_store
    try:
        client = online_store._get_client(store.config.online_store)
        stored = client.get(marker)
        if replace or stored not in (None, build.source.encode()):
            print("  the orders were replaced: removing the rows of the old ones", flush=True)
            join_keys = sorted({key for view in views.values() for key in view.join_keys})
            online_store.delete_entity_values(store.config, join_keys)
        client.set(marker, build.source)  # before the first row, so that an interrupted run is known
        started = time.monotonic()
        store.config.online_store.skip_dedup = True  # Feast's name for writing over what is stored
        store.materialize(start_date=_BEGINNING, end_date=until)
    except _REDIS_FAILURES as error:
        raise JobError(f"Redis did not answer: {type(error).__name__}") from None
    print(f"  materialized {len(views)} views in {time.monotonic() - started:.1f} s", flush=True)
