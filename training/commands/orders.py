"""Commands that write the orders and say whether there are enough of them to train on."""

import os
import sys
import textwrap
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from artefacts.addresses import DEFAULT_USE_CASE, PROJECT_ROOT, Artefacts
from artefacts.process.command_line import Commands, utc_time, whole_number
from training.churn.source.addresses import OrderAddresses
from training.errors import DatasetError, TrainingError
from training.settings import TrainingSettings

if TYPE_CHECKING:
    from training.churn.orders import OrdersWritten

COMMANDS = Commands()


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date like 2026-01-31") from None


def _refuse_contradictions(given: dict[str, Any]) -> None:
    if given["orders"] and given["reference_date"]:
        raise click.UsageError("--reference-date does not move your own orders; they keep their dates")
    if given["orders"] and given["synthetic"]:
        raise click.UsageError("either --orders or --synthetic")
    other_orders = given["orders"] or given["synthetic"] or given["reference_date"]
    if (given["again"] or given["follow_today"]) and other_orders:
        raise click.UsageError("--again and --follow-today take the orders that there are, not others")
    if given["lines"] and not given["orders"]:
        raise click.UsageError("--lines is for --orders")
    if (given["until"] or given["complete"]) and not (given["orders"] or given["again"]):
        raise click.UsageError("--until and --complete are for --orders and --again")
    if given["seed"] is not None and not given["synthetic"]:
        raise click.UsageError("--seed is for --synthetic")


@COMMANDS.command("data", check=_refuse_contradictions)
@click.option("--orders", type=Path, help="Your own orders, .csv or .parquet.")
@click.option("--again", is_flag=True, help="Your own orders once more, from the file given last.")
@click.option("--follow-today", is_flag=True, help="Move sample orders so that they end yesterday; others stay.")
@click.option("--until", type=utc_time, help="ISO time, UTC: your own orders hold every order before it.")
@click.option("--complete", is_flag=True, help="They hold every order before the midnight before the file was written.")
@click.option("--lines", is_flag=True, help="Rows of one customer and order_id are lines of one order.")
@click.option(
    "--synthetic", type=whole_number("a number of customers ≥ 1", 1), help="Make orders of so many customers."
)
@click.option("--seed", type=whole_number("a whole number ≥ 0"), help="Of synthetic orders; default 1.")
@click.option("--reference-date", type=_date, help="The day after the last order; default today, UTC.")
def data(**given: Any) -> None:
    """Fetch the CDNOW orders, check and take your own, or make some; or fetch what the use case's data.py fetches."""
    addresses, now = OrderAddresses.of(os.environ), datetime.now(UTC)
    if (owner := Artefacts.of(os.environ).features_of) != PROJECT_ROOT / DEFAULT_USE_CASE:
        _fetch_own(owner, now, given)
        return
    written = _write_orders(addresses, now, **given)
    if written is None:
        return
    from training.churn.data_set_id import count_other_batches
    from training.churn.orders_summary import check_enough, summarise
    from training.target import follow_existing_champion

    print(f"{written.path}: {written.source}; every order before {written.observed_until:%Y-%m-%d %H:%M} UTC")
    counted = summarise(written.path, written.observed_until)
    print(textwrap.indent(counted.to_text(now, written.observed_until), "  "), flush=True)
    if batches := count_other_batches(addresses.orders, addresses.streamed_orders):
        print(
            f"  {batches:,} batches of streamed orders came with other data than these and are no longer read; "
            f"they stay in {addresses.streamed_orders}",
            flush=True,
        )
    try:
        settings = follow_existing_champion(Artefacts.of(os.environ), TrainingSettings(), local_only=True)
        print(f"  {check_enough(addresses, settings)}")
    except DatasetError as error:  # a model that exists can score them all the same
        print(f"warning: these are not enough to train on: {error}", file=sys.stderr)
    except TrainingError as error:
        print(f"warning: whether these are enough to train on is not known: {error}", file=sys.stderr)


def _fetch_own(owner: Path, now: datetime, given: dict[str, Any]) -> None:
    """Run `data.py` of a use case with a Feast repository of its own.

    Raises:
        UseCaseError: it cannot be used.
        UsageError: an option was given that is about orders.
    """
    from training.use_case_folder import function_of, name_of_folder

    follow_today = given.pop("follow_today")
    for option in [option for option, value in given.items() if value]:
        raise click.UsageError(f"--{option.replace('_', '-')} is for orders, and {name_of_folder(owner)} has none")
    fetch = function_of(owner / "data.py", "fetch")
    said = f"data: {name_of_folder(owner)} fetches none" if fetch is None else fetch(os.environ, now, follow_today)
    if said:
        print(said)


def _write_orders(
    addresses: OrderAddresses,
    now: datetime,
    *,
    orders: Path | None,
    again: bool,
    follow_today: bool,
    until: datetime | None,
    complete: bool,
    lines: bool,
    synthetic: int | None,
    seed: int | None,
    reference_date: date | None,
) -> "OrdersWritten | None":
    """Write the orders that were asked for; None where the orders stay as they are."""
    from training.churn import deliveries
    from training.churn.orders import write_cdnow
    from training.churn.own_orders import read_again, write_own
    from training.churn.synthetic_orders import write_synthetic

    path, reference = addresses.orders, reference_date or now.date()
    follows = reference_date is None
    if again and (own := read_again(path, now, until, complete)):
        return own
    if again or follow_today:
        # The stream's orders belong to the days in which they came, so the sample must not move beside them.
        streamed = any(addresses.streamed_orders.glob("batch=*"))
        moved = None if streamed else deliveries.follow_today(path, now.date())
        if moved is None and again:
            print(f"{path}: not your own orders, which may have grown: left as they are")
        return moved
    if orders:
        return write_own(path, orders, now, lines, until, complete)
    if synthetic:
        return write_synthetic(path, synthetic, 1 if seed is None else seed, reference, follows_today=follows)
    return write_cdnow(path, reference, follows)


@COMMANDS.command("check-orders")
def check_orders() -> None:
    """Say whether there are enough orders to train on."""
    from training.churn.orders_summary import check_enough
    from training.target import follow_existing_champion

    settings = follow_existing_champion(Artefacts.of(os.environ), TrainingSettings())
    print(check_enough(OrderAddresses.of(os.environ), settings))
