"""Command line of the service: `python -m service new-key NAME`; `make api-key` calls it."""

import argparse
import os
import sys
from pathlib import Path

from artefacts.process.printable import printable_output
from artefacts.process.small_files import read_small_file
from service.api.authentication import new_key, read_keys
from service.errors import StartupError


@printable_output()
def main(arguments: list[str] | None = None) -> int:
    """Make one key: the key to stdout, all else to stderr; 1 with one line where it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new-key", help="make an API key; stdout gets the key, which is shown this once")
    new.add_argument("name", help="the client it is for, as logs and metrics will call it")
    new.add_argument("--file", type=Path, default=None, help="add the entry to this file instead of printing it")
    chosen = parser.parse_args(arguments)
    try:
        key, entry = new_key(chosen.name)
        if chosen.file is not None:
            _append(chosen.file, entry)
    except (ValueError, StartupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {chosen.file}: {error.strerror}", file=sys.stderr)
        return 1
    print(key)
    if chosen.file is None:
        print(f"shown this once; to store, in SERVICE_API_KEYS or a file: {entry}", file=sys.stderr)
    else:
        where = chosen.file.resolve()
        print(f"shown this once; its hash is in {where}. Serve with SERVICE_API_KEYS_FILE={where}", file=sys.stderr)
    return 0


def _append(file: Path, entry: str) -> None:
    """Add a line in one write, so that a service that reads at that moment sees all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    started = ""
    if file.exists():
        read_keys(file)  # a file that the service would refuse is not added to
        started = "" if read_small_file(file)[-1:] in (b"", b"\n") else "\n"
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as opened:
        opened.write(f"{started}{entry}\n")


if __name__ == "__main__":
    sys.exit(main())
