"""Command lines of all rooms, on click: each command is declared once, and wrong arguments are refused in one line."""

import re
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from artefacts.process.settings import unknown_variables

_AROUND = f"{__name__}.around"


class Command(click.Command):
    """A command whose docstring is its help.

    Args:
        check: is given the values of all options and refuses, by `click.UsageError`, those that contradict each other.
    """

    def __init__(self, *given: Any, check: Callable[[dict[str, Any]], None] | None = None, **named: Any) -> None:
        super().__init__(*given, **named)
        self._check = check
        if self.help and not self.short_help:  # click would cut it off in the list of all commands
            self.short_help = self.help.split("\n\n", 1)[0]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click."""
        rest = super().parse_args(ctx, args)
        if self._check is not None:
            self._check(ctx.params)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """See click."""
        with ctx.meta.get(_AROUND, nullcontext)():
            return super().invoke(ctx)


class Commands(click.Group):
    """Commands as they are declared."""

    command_class = Command

    def __init__(self, name: str | None = None, **named: Any) -> None:
        super().__init__(name, no_args_is_help=False, **named)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # of the class above
        """See click."""
        return list(self.commands)

    @classmethod
    def joined(cls, name: str, text: str | None, parts: Sequence["Commands"]) -> "Commands":
        """The commands of several modules as one command line.

        Args:
            name: what a user types before a command.
            text: the help.
        """
        return cls(name, help=text, commands=[command for part in parts for command in part.commands.values()])


def run_command(
    command: click.Command,
    arguments: Sequence[str] | None,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Run the command, of several the one that the arguments name; what it raises is raised.

    Not by click's own `main`: that turns Ctrl-C and a closed pipe into other errors and exit codes.

    Args:
        arguments: None takes those of the process.
        around: entered once the arguments are known to be right, for as long as the command runs.

    Raises:
        SystemExit: help was asked for (0), or the arguments are wrong (2, with one line on stderr).
        KeyboardInterrupt: Ctrl-C; where nothing catches it, one line on stderr takes the place of a traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with command.make_context(command.name, given, help_option_names=["-h", "--help"]) as context:
            context.meta[_AROUND] = around
            command.invoke(context)
    except click.exceptions.Exit as end:
        raise SystemExit(end.exit_code) from None
    except click.UsageError as error:
        print(f"error: {' '.join(error.format_message().split())}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        # Python ends by the signal once this hook has run, so that a shell and make know of it.
        sys.excepthook = lambda *_: print("stopped", file=sys.stderr)
        raise


def parse_utc(text: str) -> datetime:
    """Parse an ISO date or time; UTC unless it names a zone.

    Raises:
        ValueError: it is none.
    """
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def utc_time(text: str) -> datetime:
    """Type of an option: an ISO date or time; UTC unless it names a zone."""
    try:
        return parse_utc(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an ISO date or time") from None


def past_time(text: str) -> datetime:
    """Type of an option: as `utc_time`, or how long ago in days or hours, as `2d` or `36h`."""
    ago = re.fullmatch(r"(\d{1,5})([dh])", text)
    if ago is not None:
        return datetime.now(UTC) - int(ago[1]) * {"d": timedelta(days=1), "h": timedelta(hours=1)}[ago[2]]
    try:
        return parse_utc(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an ISO date or time, nor how long ago, as 2d or 36h") from None


def whole_number(what: str, at_least: int = 0) -> Callable[[str], int]:
    """Type of an option: digits alone.

    Args:
        what: completes "… is not" where it is none.
    """

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < at_least:
            raise click.BadParameter(f"{text!r} is not {what}")
        return int(text)

    return number


def warn_of_unknown(variables: Iterable[str], prefix: str, settings: Iterable[str], whose: str) -> None:
    """Name on stderr the variables that look like settings but are none; see `unknown_variables`.

    Args:
        whose: the settings are.
    """
    if unknown := unknown_variables(variables, prefix, settings):
        print(f"warning: no settings of {whose}, see docs/settings.md: {', '.join(unknown)}", file=sys.stderr)


def loopback_port(text: str) -> int:
    """Type of an option: a port of 127.0.0.1 on which nothing listens."""
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 0 < port < 2**16:
        raise click.BadParameter(f"{text!r} is no port from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise click.BadParameter(f"127.0.0.1:{port} cannot be used: {error.strerror}") from None
    return port
