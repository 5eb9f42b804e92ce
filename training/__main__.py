"""Command line of training: `python -m training <command>`; the make targets call it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from artefacts.errors import SourceError
from artefacts.process.command_line import Commands, run_command, warn_of_unknown
from artefacts.process.logs import command_logs
from artefacts.process.loopback import keep_loopback_direct
from artefacts.process.printable import printable_output
from contract import ContractError
from contract.validation import setting_problem
from scoring.errors import ModelError
from training.commands import models, orders, tables
from training.errors import TrainingError
from training.settings import TrainingLogSettings, TrainingSettings

TRAINING = Commands.joined("python -m training", __doc__, [orders.COMMANDS, models.COMMANDS, tables.COMMANDS])


@printable_output()
def main(arguments: list[str] | None = None) -> int:
    """Run one step; 0 on success, else the error's exit code, with one line on stderr.

    Raises:
        SystemExit: help was asked for (0), the arguments are wrong (2), or `champion` found none (4).
    """
    try:
        run_command(TRAINING, arguments, _prepared)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (ContractError, ModelError, SourceError, OSError) as error:  # OSError: a folder that cannot be written to
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValidationError as error:
        print(f"error: {setting_problem(error, 'TRAINING_')}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _prepared() -> Iterator[None]:
    keep_loopback_direct(os.environ)
    warn_of_unknown(os.environ, "TRAINING_", TrainingSettings.model_fields, "training")
    with command_logs(("training", "scoring", "artefacts"), TrainingLogSettings().log_format):
        yield


if __name__ == "__main__":
    sys.exit(main())
