"""Command line of the benchmarks: `python -m benchmarks <command>`; the make targets call it."""

import sys
from pathlib import Path

import click

from artefacts.process.command_line import Commands, run_command
from artefacts.process.logs import command_logs
from benchmarks.load.process_usage import StepError
from benchmarks.online.servers import ServerError
from benchmarks.results import GATE_FILE, JOBS_FILE, RESULTS
from jobs.errors import JobError
from scoring.errors import ModelError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 1 with one message on stderr where it could not be done.

    Raises:
        SystemExit: help was asked for (0), or the arguments are wrong (2).
    """
    try:
        run_command(BENCHMARKS, arguments, lambda: command_logs(("jobs", "training", "scoring", "artefacts"), "text"))
    except (ServerError, StepError, JobError, ModelError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


@click.pass_context
def _keep_results(context: click.Context, results: Path) -> None:
    context.obj = results


BENCHMARKS = Commands(
    "python -m benchmarks",
    help=__doc__,
    callback=_keep_results,
    params=[
        click.Option(
            ["--results"],
            type=Path,
            default=RESULTS,
            show_default=True,
            help="The file to write or, for report, to read.",
        )
    ],
)


@BENCHMARKS.command("online")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Length of each measurement.")
@click.option("--warm-up", type=float, default=0.5, show_default=True, help="Seconds before each measurement.")
@click.option("--rounds", type=int, default=3, show_default=True, help="Measurements of each server.")
@click.option("--peers", default="", help="Only these, between commas.")
@click.pass_obj
def online(results: Path, seconds: float, warm_up: float, rounds: int, peers: str) -> None:
    """Measure every peer in every scenario."""
    from benchmarks.online import peers_compared

    peers_compared.run(seconds, warm_up, rounds, set(peers.split(",")) if peers else None, results)


@BENCHMARKS.command("breakdown")
@click.pass_obj
def breakdown(results: Path) -> None:
    """Measure where one request's time goes in our service."""
    from benchmarks.online import breakdown

    breakdown.run(results)


@BENCHMARKS.command("soak")
@click.option("--requests", type=int, default=200_000, show_default=True, help="Requests to one worker.")
@click.pass_obj
def soak(results: Path, requests: int) -> None:
    """Measure memory and latency over many requests."""
    from benchmarks.online import soak

    soak.run(requests, results)


@BENCHMARKS.command("beside")
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Length of each measurement.")
@click.option("--rounds", type=int, default=5, show_default=True, help="Measurements of each server.")
@click.pass_obj
def beside(results: Path, seconds: float, rounds: int) -> None:
    """Measure what the inference log and a challenger cost."""
    from benchmarks.online import beside

    beside.run(seconds, rounds, results)


@BENCHMARKS.command("width")
@click.option("--rounds", type=int, default=15, show_default=True, help="Measurements of each reader.")
@click.pass_obj
def width(results: Path, rounds: int) -> None:
    """Measure what reading 10 to 200 features over 1 to 10 views costs, beside Feast's SDK."""
    from benchmarks.online import width

    width.run(rounds, results)


@BENCHMARKS.command("types")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Length of each measurement.")
@click.option("--rounds", type=int, default=2, show_default=True, help="Measurements of each server.")
@click.pass_obj
def types(results: Path, seconds: float, rounds: int) -> None:
    """Measure households' categories and nulls beside churn's numbers and the plain stack."""
    from benchmarks.online import types_compared

    types_compared.run(seconds, rounds, results)


@BENCHMARKS.command("explanations")
@click.option("--rounds", type=int, default=40, show_default=True, help="Explanations of one row by each.")
def explanations(rounds: int) -> None:
    """Print what one row's explanation by trees takes, beside shap's."""
    from benchmarks.explanations import measured

    click.echo(measured(rounds))


@BENCHMARKS.command("capacity")
@click.pass_obj
def capacity(results: Path) -> None:
    """Measure what a replica and Redis take at rates of requests."""
    from benchmarks.online import capacity

    capacity.run(results)


@BENCHMARKS.command("log")
@click.pass_obj
def answer_log(results: Path) -> None:
    """Measure what the inference log costs, and the jobs that read it."""
    from benchmarks.online import answer_log

    answer_log.run(results)


@BENCHMARKS.command("drift-power")
@click.pass_obj
def drift_power(results: Path) -> None:
    """Simulate false alarms and power of the test of drift."""
    from benchmarks.simulations import drift_power

    drift_power.run(results)


@BENCHMARKS.command("hours")
@click.pass_obj
def hours(results: Path) -> None:
    """Compare training at the hours of requests with training at midnights."""
    from benchmarks.simulations import hours

    hours.run(results)


@BENCHMARKS.command("use-cases")
@click.option("--lifetimes", type=Path, help="A Python interpreter with lifetimes 0.11.3, for those on orders.")
@click.option("--households", is_flag=True, help="Those on households instead, which need none.")
@click.pass_obj
def use_cases(results: Path, lifetimes: Path | None, households: bool) -> None:
    """Hold the use cases against their baselines, those on orders also against published models of buying."""
    if (lifetimes is None) != households:
        raise click.UsageError("either --lifetimes or --households")
    from benchmarks.simulations import use_cases

    use_cases.run(results, lifetimes)


@BENCHMARKS.command("gate-power")
@click.pass_obj
def gate_power(results: Path) -> None:
    """Simulate what the gate lets through."""
    from benchmarks.simulations import gate_power

    gate_power.run(results.with_name(GATE_FILE))


@BENCHMARKS.command("drift-year")
@click.pass_obj
def drift_year(results: Path) -> None:
    """Make monthly reports of drift over a year of steady shops, and of planted drifts."""
    from benchmarks.simulations import drift_year

    drift_year.run(results)


def _sizes(text: str) -> list[int]:
    sizes = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(size.isdecimal() and int(size) >= 1000 for size in sizes):
        raise click.BadParameter(f"{text!r} is not numbers of customers ≥ 1000 between commas")
    return [int(size) for size in sizes]


@BENCHMARKS.command("jobs")
@click.option("--sizes", type=_sizes, default="200000,1000000", show_default=True, help="Customers, between commas.")
@click.option("--largest", type=int, default=5_000_000, show_default=True, help="One more size, ours only; 0: none.")
@click.pass_obj
def jobs(results: Path, sizes: list[int], largest: int) -> None:
    """Measure features, materialization, batch and stream at several sizes."""
    from benchmarks.jobs import jobs_compared

    jobs_compared.run(sizes, largest, results.with_name(JOBS_FILE))


@BENCHMARKS.command("report")
@click.pass_obj
def report(results: Path) -> None:
    """Write docs/performance.md and the figures of docs/scale.md from the results."""
    from benchmarks import report

    report.write(results)


if __name__ == "__main__":
    sys.exit(main())
