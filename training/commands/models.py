"""Commands that train, move and import model versions."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from artefacts.addresses import Artefacts
from artefacts.process.command_line import Commands, loopback_port, whole_number
from artefacts.process.redaction import redacted
from training.settings import TrainingSettings

if TYPE_CHECKING:
    from training.promotion.ledger import Recorded
    from training.promotion.registry_moves import OpenedRegistry

COMMANDS = Commands()
_NO_CHAMPION = 4  # no error: `make run` trains then


def _opened() -> "OpenedRegistry":
    artefacts, settings = Artefacts.of(os.environ), TrainingSettings()  # refused before what takes seconds to load
    from training.promotion.registry_moves import OpenedRegistry

    return OpenedRegistry.of(artefacts, settings)


@COMMANDS.command("champion")
def champion() -> None:
    """Print which version is champion; exit code 4 if none is."""
    settings = TrainingSettings()
    from training.target import champion_contract, predicted, refuse_other_setting
    from training.tracking.registry import open_registry

    client = open_registry(Artefacts.of(os.environ).mlflow_tracking_uri, settings.model_name)
    found = champion_contract(client, settings.model_name)
    if found is None:
        print(f"no version of {settings.model_name} is champion yet")
        raise SystemExit(_NO_CHAMPION)
    number, contract = found
    refuse_other_setting(settings, contract, f"the champion, version {number} of {settings.model_name!r}")
    print(f"version {number} of {settings.model_name} is champion, and {predicted(contract)}")


@COMMANDS.command("train")
def train() -> None:
    """Train, evaluate, register, and promote through the gate."""
    opened = _opened()
    from training.promotion.moves import promote_trained
    from training.target import follow_champion
    from training.train import train_version

    opened.settled()  # an error of the registry is raised before the minutes of training, not after
    settings = follow_champion(opened.client, opened.settings)
    moved = promote_trained(opened, train_version(opened.client, opened.artefacts, settings))
    before = moved.entry.from_version
    instead = f" instead of version {before}, which it was not held against" if before else ""
    print(f"{opened.name} version {moved.entry.to_version} is champion{instead}")


@COMMANDS.command("retrain")
@click.option("--force", is_flag=True, help="Also without new data, as after a changed setting.")
def retrain_command(force: bool) -> None:
    """Train a challenger on new data, through the gate; exit code 0 also without new data."""
    opened = _opened()
    from training.promotion.retraining import retrain

    challenger = retrain(opened, force)
    if challenger is None:
        print("no new data since the newest version was trained; nothing to do (FORCE=1 trains all the same)")
    else:
        print(f"{opened.name} version {challenger.entry.to_version} is challenger; `make promote` makes it champion")


@COMMANDS.command("rows")
@click.option("--out", type=Path, required=True, help="Parquet file.")
def rows(out: Path) -> None:
    """Write the rows of all splits, for a model that is trained elsewhere.

    Columns: split, the join keys, event_timestamp, label, and the model's inputs in their order. A category is its
    code; its values by code are beside, in <name>.vocabularies.json.
    """
    opened = _opened()
    from training.splits import read_splits, rows_of, vocabularies_of
    from training.target import follow_champion, with_settings
    from training.use_case_folder import load_use_case

    settings = follow_champion(opened.client, opened.settings)
    case = with_settings(load_use_case(opened.artefacts.use_case), settings)
    splits = read_splits(opened.artefacts, case, settings, fits=False)
    written, vocabularies = rows_of(splits), vocabularies_of(splits)
    out.parent.mkdir(parents=True, exist_ok=True)
    written.to_parquet(out, index=False)
    print(f"{len(written):,} rows are in {out}; train on those whose split is training, and score the others")
    if vocabularies:
        beside = out.with_suffix(".vocabularies.json")
        beside.write_text(json.dumps(vocabularies, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"the values of {len(vocabularies)} categories by code are in {beside}")


@COMMANDS.command("register-onnx")
@click.option("--model", type=Path, required=True, help="ONNX file: the inputs, float32 (n, k), to the task's outputs.")
@click.option("--scores", type=Path, required=True, help="Parquet file: what it gives for validation and test rows.")
def register_onnx_command(model: Path, scores: Path) -> None:
    """Register a model that was trained elsewhere, through the gate; moves no alias."""
    opened = _opened()
    from training.register_onnx import register_onnx
    from training.target import follow_champion

    settings = follow_champion(opened.client, opened.settings)
    version = register_onnx(opened.client, opened.artefacts, settings, model, scores)
    print(f"{version.name} version {version.version} is registered; `make promote VERSION={version.version}` serves it")


@COMMANDS.command("import-model")
@click.option("--model", default="champion", show_default=True, help="Alias or version number.")
def import_model_command(model: str) -> None:
    """Import a version from MLflow's registry into the BentoML model store."""
    settings = TrainingSettings()
    from training.bento_import import import_model

    artefacts = Artefacts.of(os.environ)
    print(f"imported {import_model(artefacts, settings.model_name, model, artefacts.mlflow_tracking_uri)}")


@COMMANDS.command("mlflow-ui")
@click.option("--ui-port", type=loopback_port, default=5000, show_default=True, help="On 127.0.0.1.")
def mlflow_ui(ui_port: int) -> None:
    """Show runs, models and versions in a browser with MLflow's own page, until Ctrl-C."""
    uri = Artefacts.of(os.environ).mlflow_tracking_uri
    if uri.startswith(("http://", "https://")):
        print(f"MLflow's server shows them: {redacted(uri)}")
        return
    print(f"MLflow's page is on http://127.0.0.1:{ui_port} in some ten seconds; Ctrl-C ends it", flush=True)
    place = ("--host", "127.0.0.1", "--port", str(ui_port), "--backend-store-uri", uri)
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *place])  # noqa: S606  # no shell is wanted


def _force_needs_a_reason(given: dict[str, Any]) -> None:
    if given["force"] and not given["reason"]:
        raise click.UsageError('--force needs a --reason, which is recorded; with make: FORCE=1 REASON="…"')


@COMMANDS.command("promote", check=_force_needs_a_reason)
@click.option("--version", default="challenger", show_default=True, help="Alias or version number.")
@click.option("--force", is_flag=True, help="Against the gate; needs a reason.")
@click.option("--reason", type=str.strip, default="", help="Why, for the ledger.")
def promote_command(version: str, force: bool, reason: str) -> None:
    """Make a version champion, if the gate lets it, and pin it."""
    opened = _opened()
    from training.promotion.moves import promote

    _print_move(opened, promote(opened, version, reason, force))


def _needs_a_reason(given: dict[str, Any]) -> None:
    if not given["reason"]:
        raise click.UsageError('a rollback needs a --reason, which is recorded; with make: REASON="…"')


@COMMANDS.command("rollback", check=_needs_a_reason)
@click.option(
    "--to",
    type=whole_number("the number of a ledger entry", 1),
    help="Ledger entry; default the one before the present state.",
)
@click.option("--reason", type=str.strip, default="", help="Why, for the ledger.")
def rollback(to: int | None, reason: str) -> None:
    """Bring back an earlier champion with its exact bytes, and pin it."""
    opened = _opened()
    from training.promotion.moves import roll_back

    _print_move(opened, roll_back(opened, to, reason))


def _print_move(opened: "OpenedRegistry", moved: "Recorded") -> None:
    print(
        f"entry {moved.number} of {opened.ledger.name}: {opened.name} version {moved.entry.to_version} is "
        f"champion; {moved.entry.served['tag']} is pinned here"
    )


@COMMANDS.command("models")
def models_command() -> None:
    """Show versions, aliases, verdicts and figures, then the ledger."""
    opened = _opened()
    from training.promotion.listing import models

    print(models(opened))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:  # neither is NaN, which click.FloatRange would take
        raise click.BadParameter(f"{text!r} is not a share above 0 and up to 1")
    return share


@COMMANDS.command("challenge")
@click.option("--version", default="challenger", show_default=True, help="Alias or version number.")
@click.option("--mode", type=click.Choice(["shadow", "canary", "off"]), required=True)
@click.option("--share", type=_share, default=0.1, show_default=True, help="Of customers that a canary answers.")
def challenge_command(version: str, mode: Literal["shadow", "canary", "off"], share: float) -> None:
    """Serve a second model beside the champion, on this machine."""
    off: Mapping[str, Any] | None = None
    if mode == "off":  # before what takes seconds to load
        from artefacts.local_pin import switch_off

        off = switch_off(Artefacts.of(os.environ))
        if off is None:
            print("there is no challenger here")
            return
        print(f"{off.get('tag', 'what challenged')} challenges here no longer", flush=True)
    opened = _opened()
    from training.promotion.challenge import challenge, record_off

    made = record_off(opened, off or {}) if mode == "off" else challenge(opened, version, mode, share)
    print(f"entry {made.number} of {opened.ledger.name}: {opened.name} {made.entry.why}")


@COMMANDS.command("check-contracts")
@click.argument("files", nargs=-1, type=Path)
def check_contracts_command(files: tuple[Path, ...]) -> None:
    """Say whether the feature registry keeps what live models were promised.

    FILES are contracts, or answers of GET /model; default the contracts that are registered.
    """
    settings = TrainingSettings()
    from training.contract_check import check_contracts, read_contract_file, registered_contracts
    from training.tracking.registry import open_registry

    artefacts = Artefacts.of(os.environ)
    if files:
        live = [read_contract_file(file) for file in files]
    else:
        client = open_registry(artefacts.mlflow_tracking_uri, settings.model_name)
        live = registered_contracts(client, settings.model_name)
    check_contracts(artefacts, live)
    print("kept: " + ", ".join(each.owner for each in live))
