"""Command line of training: `python -m training <command>`; the make targets call it."""

import argparse
import os
import sys
import textwrap
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from artefacts.addresses import Artefacts
from artefacts.process.command_line import OneLineParser, warn_of_unknown
from artefacts.process.loopback import keep_loopback_direct
from artefacts.process.printable import printable_output
from contract import ContractError
from contract.errors import setting_problem
from scoring.errors import ModelError
from training.errors import DatasetError, TrainingError
from training.settings import TrainingSettings

if TYPE_CHECKING:
    from training.data.orders import OrdersWritten

_NO_CHAMPION = 4  # no error: `make run` trains then


@printable_output()
def main(arguments: list[str] | None = None) -> int:
    """Run one step; 0 on success, else the error's exit code, with one line on stderr."""
    parser = OneLineParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="fetch CDNOW, or check and take your own orders")
    data.add_argument("--orders", type=Path, help="your own orders, .csv or .parquet")
    data.add_argument("--again", action="store_true", help="your own orders once more, from the file given last")
    data.add_argument(
        "--follow-today", action="store_true", help="move sample orders on so that they end yesterday; others stay"
    )
    data.add_argument("--until", type=_time, help="ISO time, UTC: every order before it is in your own orders")
    data.add_argument(
        "--complete", action="store_true", help="every order before the midnight before the file was written is in it"
    )
    data.add_argument("--lines", action="store_true", help="rows of one customer and order_id are lines of one order")
    data.add_argument("--synthetic", type=_customers, help="make orders of so many customers")
    data.add_argument("--seed", type=_seed, help="of synthetic orders; default 1")
    data.add_argument("--reference-date", type=_date, help="the day after the last order; default today, UTC")
    commands.add_parser("check-orders", help="are there enough orders to train on?")
    commands.add_parser("champion", help="which version is champion; ends with 4 if none is")
    commands.add_parser("train", help="train, evaluate, register, promote through the gate")
    retrain = commands.add_parser("retrain", help="new data → challenger, through the gate; 0 also if nothing is new")
    retrain.add_argument("--force", action="store_true", help="although nothing is new, as after a changed setting")
    import_model = commands.add_parser("import-model", help="MLflow registry → BentoML model store")
    import_model.add_argument("--model", default="champion", help="alias or version number")
    promote = commands.add_parser("promote", help="make a version champion, if the gate lets it, and pin it")
    promote.add_argument("--version", default="challenger", help="alias or version number")
    promote.add_argument("--force", action="store_true", help="against the gate; needs a reason")
    promote.add_argument("--reason", type=str.strip, default="", help="why, for the ledger")
    rollback = commands.add_parser("rollback", help="bring back an earlier champion with its exact bytes, and pin it")
    rollback.add_argument(
        "--to", type=_entry, default=None, help="ledger entry; default the one before the present state"
    )
    rollback.add_argument("--reason", type=str.strip, default="", help="why, for the ledger")
    commands.add_parser("models", help="versions, aliases, verdicts and figures, then the ledger")
    challenge = commands.add_parser("challenge", help="a second model beside the champion, on this machine")
    challenge.add_argument("--version", default="challenger", help="alias or version number")
    challenge.add_argument("--mode", choices=["shadow", "canary", "off"], required=True)
    challenge.add_argument("--share", type=_share, default=0.1, help="of customers that a canary answers")
    kept = commands.add_parser("check-contracts", help="does the feature registry keep what live models were promised?")
    kept.add_argument(
        "files", nargs="*", type=Path, help="contracts, or answers of GET /model; default those registered"
    )
    chosen = parser.parse_args(arguments)
    if chosen.command == "promote" and chosen.force and not chosen.reason:
        parser.error('--force needs a --reason, which is recorded; with make: FORCE=1 REASON="…"')
    if chosen.command == "rollback" and not chosen.reason:
        parser.error('a rollback needs a --reason, which is recorded; with make: REASON="…"')
    if chosen.command == "data" and chosen.orders and chosen.reference_date:
        parser.error("--reference-date does not move your own orders; they keep their dates")
    if chosen.command == "data" and chosen.orders and chosen.synthetic:
        parser.error("either --orders or --synthetic")
    if (
        chosen.command == "data"
        and (chosen.again or chosen.follow_today)
        and (chosen.orders or chosen.synthetic or chosen.reference_date)
    ):
        parser.error("--again and --follow-today take the orders that there are, not others")
    if chosen.command == "data" and chosen.lines and not chosen.orders:
        parser.error("--lines is for --orders")
    if chosen.command == "data" and (chosen.until or chosen.complete) and not (chosen.orders or chosen.again):
        parser.error("--until and --complete are for --orders and --again")
    if chosen.command == "data" and chosen.seed is not None and not chosen.synthetic:
        parser.error("--seed is for --synthetic")
    keep_loopback_direct(os.environ)
    warn_of_unknown(os.environ, "TRAINING_", TrainingSettings.model_fields, "training")
    try:
        _run(chosen)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (ContractError, ModelError, OSError) as error:  # of a folder that cannot be written to
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValidationError as error:
        print(f"error: {setting_problem(error, 'TRAINING_')}", file=sys.stderr)
        return 1
    return 0


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-01-31") from None


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an ISO date or time") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _customers(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of customers ≥ 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number ≥ 0")
    return int(text)


def _entry(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a ledger entry")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and up to 1")
    return share


def _write_orders(chosen: argparse.Namespace, artefacts: Artefacts, now: datetime) -> "OrdersWritten | None":
    """What the user asks for; None where the orders stay as they are."""
    from training.data.deliveries import follow_today
    from training.data.orders import write_cdnow
    from training.data.own_orders import read_again, write_own
    from training.data.synthetic_orders import write_synthetic

    path, reference = artefacts.orders, chosen.reference_date or now.date()
    follows = chosen.reference_date is None
    if chosen.again and (own := read_again(path, now, chosen.until, chosen.complete)):
        return own
    if chosen.again or chosen.follow_today:
        # What the stream has taken belongs to the days in which it came.
        streamed = any(artefacts.streamed_orders.glob("batch=*"))
        moved = None if streamed else follow_today(path, now.date())
        if moved is None and chosen.again:
            print(f"{path}: not your own orders, which may have grown: left as they are")
        return moved
    if chosen.orders:
        return write_own(path, chosen.orders, now, chosen.lines, chosen.until, chosen.complete)
    if chosen.synthetic:
        seed = 1 if chosen.seed is None else chosen.seed
        return write_synthetic(path, chosen.synthetic, seed, reference, follows_today=follows)
    return write_cdnow(path, reference, follows)


def _run(chosen: argparse.Namespace) -> None:
    artefacts = Artefacts.of(os.environ)
    if chosen.command == "data":
        now = datetime.now(UTC)
        written = _write_orders(chosen, artefacts, now)
        if written is None:
            return
        from training.data.data_sets import left_out
        from training.data.orders_summary import check_enough, summarise
        from training.target import before_training

        print(f"{written.path}: {written.source}; every order before {written.observed_until:%Y-%m-%d %H:%M} UTC")
        counted = summarise(written.path, written.observed_until)
        print(textwrap.indent(counted.described(now, written.observed_until), "  "), flush=True)
        if batches := left_out(artefacts.orders, artefacts.streamed_orders):
            print(
                f"  {batches:,} batches of streamed orders came with other data than these and are no longer read; "
                f"they stay in {artefacts.streamed_orders}",
                flush=True,
            )
        try:
            print(f"  {check_enough(artefacts, before_training(artefacts, TrainingSettings(), local_only=True))}")
        except DatasetError as error:  # they can be scored all the same, by a model that there is
            print(f"warning: these are not enough to train on: {error}", file=sys.stderr)
        except TrainingError as error:
            print(f"warning: whether these are enough to train on is not known: {error}", file=sys.stderr)
        return
    if chosen.command == "challenge" and chosen.mode == "off":  # before what takes seconds to load
        from artefacts.local_pin import switch_off

        off = switch_off(artefacts)
        if off is None:
            print("there is no challenger here")
            return
        print(f"{off.get('tag', 'what challenged')} challenges here no longer", flush=True)
    settings = TrainingSettings()
    if chosen.command == "check-orders":
        from training.data.orders_summary import check_enough
        from training.target import before_training

        print(check_enough(artefacts, before_training(artefacts, settings)))
        return
    if chosen.command == "import-model":
        from training.bento_import import import_model

        print(f"imported {import_model(artefacts, settings.model_name, chosen.model, artefacts.mlflow_tracking_uri)}")
        return
    if chosen.command == "check-contracts":
        from training.contract_check import check_contracts, contract_in, registered_contracts
        from training.tracking.registry import open_registry

        if chosen.files:
            live = [contract_in(file) for file in chosen.files]
        else:
            client = open_registry(artefacts.mlflow_tracking_uri, settings.model_name)
            live = registered_contracts(client, settings.model_name)
        check_contracts(artefacts, live)
        print("kept: " + ", ".join(each.owner for each in live))
        return
    if chosen.command == "champion":
        from training.target import champion_contract, refuse_other_setting
        from training.tracking.registry import open_registry

        client = open_registry(artefacts.mlflow_tracking_uri, settings.model_name)
        found = champion_contract(client, settings.model_name)
        if found is None:
            print(f"no version of {settings.model_name} is champion yet")
            raise SystemExit(_NO_CHAMPION)
        number, contract = found
        refuse_other_setting(settings, contract, f"the champion, version {number} of {settings.model_name!r}")
        days = f", and predicts who orders nothing in {contract.label_days} days" if contract.label_days else ""
        print(f"version {number} of {settings.model_name} is champion{days}")
        return
    from training.promotion.registry_moves import OpenedRegistry

    opened = OpenedRegistry.of(artefacts, settings)
    if chosen.command == "train":
        from training.promotion.moves import promote_trained
        from training.target import for_training
        from training.train import train_version

        opened.settled()  # said before the minutes of training, not after
        settings = for_training(opened.client, settings)
        moved = promote_trained(opened, train_version(opened.client, artefacts, settings))
        before = moved.entry.from_version
        instead = f" instead of version {before}, which it was not held against" if before else ""
        print(f"{opened.name} version {moved.entry.to_version} is champion{instead}")
    elif chosen.command == "retrain":
        from training.promotion.retraining import retrain

        challenger = retrain(opened, chosen.force)
        if challenger is None:
            print("no new data since the newest version was trained; nothing to do (FORCE=1 trains all the same)")
        else:
            print(
                f"{opened.name} version {challenger.entry.to_version} is challenger; `make promote` makes it champion"
            )
    elif chosen.command == "models":
        from training.promotion.listing import models

        print(models(opened))
    elif chosen.command == "challenge":
        from training.promotion.challenge import challenge, record_off

        if chosen.mode == "off":
            made = record_off(opened, off or {})
        else:
            made = challenge(opened, chosen.version, chosen.mode, chosen.share)
        print(f"entry {made.number} of {opened.ledger.name}: {opened.name} {made.entry.why}")
    else:
        from training.promotion.moves import promote, roll_back

        if chosen.command == "promote":
            moved = promote(opened, chosen.version, chosen.reason, chosen.force)
        else:
            moved = roll_back(opened, chosen.to, chosen.reason)
        print(
            f"entry {moved.number} of {opened.ledger.name}: {opened.name} version {moved.entry.to_version} is "
            f"champion; {moved.entry.served['tag']} is pinned here"
        )


if __name__ == "__main__":
    sys.exit(main())
