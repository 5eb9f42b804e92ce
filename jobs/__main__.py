"""Command line of the jobs: `python -m jobs <command>`; the make targets call it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from artefacts.errors import SourceError
from artefacts.process.command_line import Commands, run_command, warn_of_unknown
from artefacts.process.logs import command_logs
from artefacts.process.printable import printable_output
from contract import ContractError
from contract.validation import setting_problem
from jobs.commands import answers, predictions, stores
from jobs.errors import JobError
from jobs.features.settings import FeaturesSettings
from jobs.settings import JobsLogSettings, JobsSettings
from scoring.errors import ModelError

JOBS = Commands.joined("python -m jobs", __doc__, [stores.COMMANDS, predictions.COMMANDS, answers.COMMANDS])


@printable_output()
def main(arguments: list[str] | None = None) -> int:
    """Run one job; 0 on success, else the error's exit code, with one line on stderr.

    Raises:
        SystemExit: help was asked for (0), or the arguments are wrong (2).
    """
    try:
        run_command(JOBS, arguments, _prepared)
    except JobError as error:
        print(f"{error.prefix}: {error}", file=sys.stderr)
        return error.exit_code
    except (ModelError, ContractError, SourceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValidationError as error:
        print(f"error: {setting_problem(error, 'JOBS_')}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _prepared() -> Iterator[None]:
    known = {**JobsSettings.model_fields, **FeaturesSettings.model_fields}
    warn_of_unknown(os.environ, "JOBS_", known, "the jobs")
    with command_logs(("jobs", "scoring", "artefacts"), JobsLogSettings().log_format):
        yield


if __name__ == "__main__":
    sys.exit(main())
