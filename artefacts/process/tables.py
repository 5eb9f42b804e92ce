"""Tables for a terminal."""

from collections.abc import Iterable, Sequence
from io import StringIO

from artefacts.process.printable import printable

_WIDEST = 100_000
"""Columns of the terminal that is assumed: a line is never broken, so that it can be searched for."""


def table_lines(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns are as wide as their widest cell; the first row is the header.

    Without colours: the output is also read by programs, and control characters are made visible.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(printable(cell), no_wrap=True) for cell in row))
    console = Console(file=StringIO(), width=_WIDEST, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as drawn:
        console.print(table)
    return [line.rstrip() for line in drawn.get().splitlines()]
