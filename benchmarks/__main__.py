"""Command line of the benchmarks: `python -m benchmarks <command>`; the make targets call it."""

import argparse
import sys
from pathlib import Path

from benchmarks.results import GATE_FILE, JOBS_FILE, RESULTS


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 1 with one message on stderr where it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to write or, for report, to read")
    commands = parser.add_subparsers(dest="command", required=True)
    online = commands.add_parser("online", help="every peer in every scenario")
    online.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    online.add_argument("--warm-up", type=float, default=0.5, help="seconds before each measurement")
    online.add_argument("--rounds", type=int, default=3)
    online.add_argument("--peers", default="", help="only these, between commas")
    commands.add_parser("breakdown", help="where one request's time goes in our service")
    soak = commands.add_parser("soak", help="memory and latency over many requests")
    soak.add_argument("--requests", type=int, default=200_000)
    beside = commands.add_parser("beside", help="what the inference log and a challenger cost")
    beside.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    beside.add_argument("--rounds", type=int, default=5)
    commands.add_parser("capacity", help="what a replica and Redis take at rates of requests")
    commands.add_parser("log", help="what the inference log costs, and the jobs that read it")
    commands.add_parser("drift-power", help="false alarms and power of the test of drift")
    commands.add_parser("hours", help="training at the hours of requests instead of at midnights")
    commands.add_parser("gate-power", help="what the gate lets through, simulated")
    commands.add_parser("drift-year", help="monthly reports of drift over a year of steady shops, and planted drifts")
    jobs = commands.add_parser("jobs", help="features, materialization, batch and stream at several sizes")
    jobs.add_argument("--sizes", type=_sizes, default=[200_000, 1_000_000], help="customers, between commas")
    jobs.add_argument("--largest", type=int, default=5_000_000, help="customers of one more size, ours only; 0: none")
    commands.add_parser("report", help="docs/performance.md and the figures of docs/scale.md from the results")
    chosen = parser.parse_args(arguments)
    from benchmarks.load.process_usage import StepError
    from benchmarks.online.servers import ServerError
    from jobs.errors import JobError
    from scoring.errors import ModelError

    try:
        _run(chosen)
    except (ServerError, StepError, JobError, ModelError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _sizes(text: str) -> list[int]:
    sizes = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(size.isdecimal() and int(size) >= 1000 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers of customers ≥ 1000 between commas")
    return [int(size) for size in sizes]


def _run(chosen: argparse.Namespace) -> None:
    if chosen.command == "online":
        from benchmarks.online import peers_compared as online

        only = set(chosen.peers.split(",")) if chosen.peers else None
        online.run(chosen.seconds, chosen.warm_up, chosen.rounds, only, chosen.results)
    elif chosen.command == "breakdown":
        from benchmarks.online import breakdown

        breakdown.run(chosen.results)
    elif chosen.command == "soak":
        from benchmarks.online import soak

        soak.run(chosen.requests, chosen.results)
    elif chosen.command == "beside":
        from benchmarks.online import beside

        beside.run(chosen.seconds, chosen.rounds, chosen.results)
    elif chosen.command == "capacity":
        from benchmarks.online import capacity

        capacity.run(chosen.results)
    elif chosen.command == "log":
        from benchmarks.online import answer_log

        answer_log.run(chosen.results)
    elif chosen.command == "hours":
        from benchmarks.simulations import hours

        hours.run(chosen.results)
    elif chosen.command == "drift-power":
        from benchmarks.simulations import drift_power

        drift_power.run(chosen.results)
    elif chosen.command == "gate-power":
        from benchmarks.simulations import gate_power

        gate_power.run(chosen.results.with_name(GATE_FILE))
    elif chosen.command == "drift-year":
        from benchmarks.simulations import drift_year

        drift_year.run(chosen.results)
    elif chosen.command == "jobs":
        from benchmarks.jobs import jobs_compared as jobs

        jobs.run(chosen.sizes, chosen.largest, chosen.results.with_name(JOBS_FILE))
    elif chosen.command == "report":
        from benchmarks import report

        report.write(chosen.results)


if __name__ == "__main__":
    sys.exit(main())
