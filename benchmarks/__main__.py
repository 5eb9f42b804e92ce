"""Command line of the benchmarks: `python -m benchmarks <command>`; `make bench` and `make soak` call it."""

import argparse
import sys
from pathlib import Path

from benchmarks.results import RESULTS


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
    commands.add_parser("report", help="docs/performance.md from the results")
    chosen = parser.parse_args(arguments)
    from benchmarks.servers import ServerError

    try:
        _run(chosen)
    except (ServerError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(chosen: argparse.Namespace) -> None:
    if chosen.command == "online":
        from benchmarks import online

        only = set(chosen.peers.split(",")) if chosen.peers else None
        online.run(chosen.seconds, chosen.warm_up, chosen.rounds, only, chosen.results)
    elif chosen.command == "breakdown":
        from benchmarks import breakdown

        breakdown.run(chosen.results)
    elif chosen.command == "soak":
        from benchmarks import soak

        soak.run(chosen.requests, chosen.results)
    elif chosen.command == "report":
        from benchmarks import report

        report.write(chosen.results)


if __name__ == "__main__":
    sys.exit(main())
