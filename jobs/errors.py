"""Errors of the jobs; each message says what was wrong with what, and what to do about it."""


class JobError(Exception):
    """A job could not do its work; nothing half-written is left behind.

    exit_code: what the command ends with.
    prefix: what its line begins with.
    """

    exit_code = 1
    prefix = "error"


class ArgumentError(JobError):
    """What was asked for cannot be; it ends as an argument that the command line cannot read."""

    exit_code = 2
