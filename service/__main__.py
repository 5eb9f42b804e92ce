"""Command line of the service: `python -m service new-key NAME`; `make api-key` calls it."""

import os
import sys
from pathlib import Path

import click

from artefacts.process.command_line import Commands, run_command
from artefacts.process.printable import printable_output
from artefacts.process.small_files import read_small_file
from service.api.authentication import new_key, read_keys
from service.errors import StartupError

SERVICE = Commands("python -m service", help=__doc__)


@printable_output()
def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 1 with one line on stderr where it could not be done.

    Raises:
        SystemExit: help was asked for (0), or the arguments are wrong (2).
    """
    try:
        run_command(SERVICE, arguments)
    except (ValueError, StartupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


@SERVICE.command("new-key")
@click.argument("name")
@click.option("--file", type=Path, help="Add the entry to this file instead of printing it.")
def new_key_command(name: str, file: Path | None) -> None:
    """Make an API key for the client NAME, as logs and metrics will call it.

    Stdout gets the key, which is shown this once; all else goes to stderr.
    """
    key, entry = new_key(name)
    if file is not None:
        try:
            _append(file, entry)
        except OSError as error:
            raise StartupError(f"{file}: {error.strerror}") from None
    print(key)
    if file is None:
        print(f"shown this once; to store, in SERVICE_API_KEYS or a file: {entry}", file=sys.stderr)
    else:
        where = file.resolve()
        print(f"shown this once; its hash is in {where}. Serve with SERVICE_API_KEYS_FILE={where}", file=sys.stderr)


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
