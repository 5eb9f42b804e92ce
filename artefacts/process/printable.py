"""Text that others wrote, made safe to show: a terminal obeys control characters, and some letters reorder a line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOWrapper
from typing import Any, TextIO, cast

from artefacts.process.redaction import redacted


def printable(text: str, keep: str = "") -> str:
    r"""The text with everything invisible as an escape: control characters, marks of direction, halves of letters.

    Args:
        keep: characters that stay, such as the end of a line.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


@contextmanager
def printable_output() -> Iterator[None]:
    """Let this process print printable text and ends of lines alone, and no passwords, until the block ends."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # letters that its encoding has not are escapes, too
            stream.reconfigure(errors="backslashreplace")
    with redirect_stdout(_printing_on(sys.stdout)), redirect_stderr(_printing_on(sys.stderr)):
        yield


def _printing_on(stream: TextIO) -> TextIO:
    return cast(TextIO, _PrintableStream(stream))


class _PrintableStream:
    """A text stream that is written to by `print` and in every other way has what the one below it has."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(redacted(text), keep="\n\t"))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
