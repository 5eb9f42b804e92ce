"""What the commands of several planes have in common: whatever is wrong is said in one line."""

import argparse
import sys
from collections.abc import Iterable
from typing import NoReturn

from artefacts.process.settings import unknown_variables


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments, and exits with 2; --help has the usage."""

    def error(self, message: str) -> NoReturn:
        """See argparse."""
        self.exit(2, f"error: {message}\n")


def warn_of_unknown(variables: Iterable[str], prefix: str, settings: Iterable[str], whose: str) -> None:
    """Say on stderr which variables are called like a setting and are none; see `unknown_variables`.

    Args:
        whose: the settings are.
    """
    if unknown := unknown_variables(variables, prefix, settings):
        print(f"warning: no settings of {whose}, see README.md: {', '.join(unknown)}", file=sys.stderr)
