"""Errors of the jobs. Each message names what is wrong, where, and what to do."""


class JobError(Exception):
    """A job failed; it left nothing half-written.

    exit_code: the command's exit code.
    prefix: start of the line that the command prints.
    """

    exit_code = 1
    prefix = "error"


class ArgumentError(JobError):
    """An argument is readable but impossible; the exit code is that of wrong usage."""

    exit_code = 2
