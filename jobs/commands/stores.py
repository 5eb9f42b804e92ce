"""Commands that fill the stores: events → offline store → Redis."""

import os
import shlex
from datetime import UTC, datetime
from pathlib import Path

import click

from artefacts.addresses import DEFAULT_USE_CASE, PROJECT_ROOT, Artefacts, var_folders
from artefacts.process.command_line import Commands, loopback_port, utc_time
from artefacts.process.redaction import redacted
from jobs.commands.options import ENGINES
from jobs.settings import JobsSettings

COMMANDS = Commands()


@COMMANDS.command("redis-up")
def redis_up() -> None:
    """Start the embedded Redis, or reuse it; nothing is started where REDIS_URL is set."""
    from jobs.local import embedded_redis

    if os.environ.get("REDIS_URL") or os.environ.get("REDIS_URL_FILE"):
        print("using REDIS_URL from the environment")
    else:
        print(f"embedded Redis: {embedded_redis.start()}")


@COMMANDS.command("redis-down")
def redis_down() -> None:
    """Stop the embedded Redis."""
    from jobs.local import embedded_redis

    print("embedded Redis stopped" if embedded_redis.stop() else "no embedded Redis was up")


@COMMANDS.command("features")
@click.option("--engine", type=ENGINES, default="duckdb", show_default=True, help="Computes the features.")
@click.option("--full", is_flag=True, help="Compute everything, not only what changed.")
def features(engine: str, full: bool) -> None:
    """Compute features from the use case's events, or by its features.py, into the offline store."""
    from jobs.features.build import build_features
    from jobs.features.build_plan import reach
    from jobs.features.source import EventSource
    from jobs.features.use_case_cutoffs import use_case_cutoffs

    artefacts = Artefacts.of(os.environ)
    now = datetime.now(UTC)
    if artefacts.features_of != PROJECT_ROOT / DEFAULT_USE_CASE:
        _own_features(artefacts, engine, now)
        return
    source, also = EventSource.of(os.environ), use_case_cutoffs()
    build = build_features(artefacts, source, JobsSettings(), now, engine, full, also=also)
    print(f"{artefacts.offline_store}: {reach(build, now)}")


def _own_features(artefacts: Artefacts, engine: str, now: datetime) -> None:
    from jobs.features.own_rows import build_own, own_rows

    rows = own_rows(artefacts.features_of)
    if rows is None:
        print(f"features: {artefacts.features_of.name} builds none; its rows come from the sources of its views")
        return
    if engine != "duckdb":
        raise click.UsageError(
            f"--engine {engine} is for builds of events; features.py computes {artefacts.features_of.name}"
        )
    build = build_own(artefacts, rows, JobsSettings(), now)
    print(f"{artefacts.offline_store}: features up to {build.newest_snapshot or build.observed_until}")


@COMMANDS.command("apply")
def apply_definitions() -> None:
    """Register the definitions of feature_repo/ in Feast's registry."""
    from jobs.feature_store import apply

    artefacts = Artefacts.of(os.environ)
    apply(artefacts)
    print(f"applied feature_repo/ to {redacted(artefacts.feast_registry)}")


@COMMANDS.command("materialize")
@click.option("--until", type=utc_time, help="ISO time, UTC; default now.")
@click.option("--replace", is_flag=True, help="Write every row, also over newer ones.")
@click.option("--take-over", is_flag=True, help="As --replace, if the rows belong to another offline store.")
@click.option("--full", is_flag=True, help="Write every row, not only what changed.")
def materialize_views(until: datetime | None, replace: bool, take_over: bool, full: bool) -> None:
    """Write features from the offline store, or another source of Feast, to the online store."""
    from jobs.materialization.materialize import materialize

    materialize(Artefacts.of(os.environ), until, replace, full, take_over=take_over)


@COMMANDS.command("feast-env")
def feast_env() -> None:
    """Print the variables with which Feast's own commands use the project's addresses, as shell exports."""
    from jobs.feature_store import feast_variables

    artefacts = Artefacts.of(os.environ)
    for name, value in feast_variables(artefacts, _feast_copy(artefacts)).items():
        print(f"export {name}={shlex.quote(value)}")


@COMMANDS.command("feast-ui")
@click.option("--ui-port", type=loopback_port, default=8888, show_default=True, help="On 127.0.0.1.")
def feast_ui(ui_port: int) -> None:
    """Show the feature registry in a browser with Feast's own page, until Ctrl-C."""
    from jobs.feature_store import FEAST, feast_variables

    artefacts = Artefacts.of(os.environ)
    variables = {**os.environ, **feast_variables(artefacts, _feast_copy(artefacts))}
    os.chdir(artefacts.feature_repo)
    at = ("ui", "--host", "127.0.0.1", "--port", str(ui_port))
    os.execve(FEAST[0], [*FEAST, *at], variables)  # noqa: S606  # no shell is wanted


def _feast_copy(artefacts: Artefacts) -> Path:
    return PROJECT_ROOT / "var" / "feast" / f"{artefacts.features_of.name}.yaml"


@COMMANDS.command("erase")
@click.option("--key", required=True, help="Of the entity; as name=value,name=value where there are several join keys.")
@click.option("--out", type=Path, required=True, help="Folder of receipts.")
@click.option("--also", help="Further files and folders that jobs have written to, separated by commas.")
@click.option("--id-key-file", help="Keys of the log's pseudonyms, the present and former ones, separated by commas.")
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
def erase_entity(key: str, out: Path, also: str | None, id_key_file: str | None, dry_run: bool) -> None:
    """Erase one entity from the stores, the inference log and what was made of them; write a receipt."""
    from jobs.erasure.erase import Erasure, erase
    from jobs.features.source import EventSource

    artefacts = Artefacts.of(os.environ)
    of_orders = artefacts.features_of == PROJECT_ROOT / DEFAULT_USE_CASE
    folders = (*var_folders(artefacts.use_case), *map(Path, (also or "").split(",") if also else ()))
    id_keys = tuple(map(Path, id_key_file.split(","))) if id_key_file else ()
    source = EventSource.of(os.environ) if of_orders else None
    print(erase(artefacts, source, Erasure(key, out, folders, id_keys, dry_run), JobsSettings()))
