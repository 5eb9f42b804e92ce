"""Command line of training: `python -m training <command>`; the make targets call it."""

import argparse
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import ValidationError

from contract import ContractError
from contract.artefacts import Artefacts
from contract.errors import setting_problem
from training.errors import TrainingError


def main(arguments: list[str] | None = None) -> int:
    """Run one step; 0 on success, 1 with one line on stderr where it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="fetch CDNOW, or check and take your own orders")
    data.add_argument("--orders", type=Path, help="your own orders, .csv or .parquet")
    data.add_argument("--synthetic", type=_customers, help="make orders of so many customers")
    data.add_argument("--seed", type=_seed, help="of synthetic orders; default 1")
    data.add_argument("--reference-date", type=_date, help="the day after the last order; default today, UTC")
    commands.add_parser("train", help="train, evaluate, register, promote through the gate")
    import_model = commands.add_parser("import-model", help="MLflow registry → BentoML model store")
    import_model.add_argument("--model", default="champion", help="alias or version number")
    chosen = parser.parse_args(arguments)
    if chosen.command == "data" and chosen.orders and chosen.reference_date:
        parser.error("--reference-date does not move your own orders; they keep their dates")
    if chosen.command == "data" and chosen.orders and chosen.synthetic:
        parser.error("either --orders or --synthetic")
    if chosen.command == "data" and chosen.seed is not None and not chosen.synthetic:
        parser.error("--seed is for --synthetic")
    try:
        _run(chosen)
    except (TrainingError, ContractError) as error:
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


def _customers(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of customers ≥ 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number ≥ 0")
    return int(text)


def _run(chosen: argparse.Namespace) -> None:
    artefacts = Artefacts.of(os.environ)
    if chosen.command == "data":
        from training.orders import write_cdnow, write_own
        from training.synthetic_orders import write_synthetic

        now = datetime.now(UTC)
        if chosen.orders:
            written = write_own(artefacts.orders, chosen.orders, now)
        elif chosen.synthetic:
            seed = 1 if chosen.seed is None else chosen.seed
            written = write_synthetic(artefacts.orders, chosen.synthetic, seed, chosen.reference_date or now.date())
        else:
            written = write_cdnow(artefacts.orders, chosen.reference_date or now.date())
        print(
            f"{written.rows:,} orders of {written.customers:,} customers in {written.path}\n"
            f"  {written.source}; every order before {written.observed_until:%Y-%m-%d %H:%M} UTC is in it"
        )
        return
    from training.settings import TrainingSettings

    settings = TrainingSettings()
    uri = artefacts.mlflow_tracking_uri
    if chosen.command == "train":
        from training.train import train

        version = train(artefacts, settings, uri)
        print(f"{settings.model_name} version {version} is champion")
    elif chosen.command == "import-model":
        from training.bento_import import import_model

        imported = import_model(artefacts, settings.model_name, chosen.model, uri)
        print(imported)


if __name__ == "__main__":
    sys.exit(main())
