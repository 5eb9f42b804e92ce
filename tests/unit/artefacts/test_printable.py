"""What others wrote is shown without obeying it: no terminal and no reader of a report takes it for more than text."""

import sys

import pytest

from artefacts.process.printable import printable, printable_output

HOSTILE = "\x1b[31m\x1b]0;title\x07\x9b31m\u202eevil\u2066\r\x08\x00\x7f\u2028\ud800"


@pytest.mark.parametrize("text", ["", "00042", "Zoë Müller", "顧客 7", "a\\x1b", "😀"])
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert text == printable(text)


def test_what_a_terminal_would_obey_is_shown_as_an_escape() -> None:
    shown = printable(f"a{HOSTILE}\nb", keep="\n")

    assert "a\\x1b[31m\\x1b]0;title\\x07\\x9b31m\\u202eevil\\u2066\\r\\x08\\x00\\x7f\\u2028\\ud800\nb" == shown
    assert "a\\nb" == printable("a\nb")


def test_all_that_a_command_prints_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    with printable_output():
        print(f"customer {HOSTILE}")
        print(HOSTILE, file=sys.stderr)
        sys.stdout.writelines([HOSTILE, "\n"])
        assert not sys.stdout.isatty()
    print("\x1b is ours again")

    told = capsys.readouterr()
    assert all(line.isprintable() for line in told.err.splitlines())
    *lines, last = told.out.split("\n")[:-1]
    assert 2 == len(lines)
    assert all(line.isprintable() for line in lines)
    assert "\x1b is ours again" == last
