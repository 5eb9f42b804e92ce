"""Tables for a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from artefacts.process.printable import printable


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table whose columns are as wide as their longest cell."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
