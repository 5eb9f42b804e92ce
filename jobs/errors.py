"""Errors of the jobs; each message says what was wrong with what, and what to do about it."""


class JobError(Exception):
    """A job could not do its work; nothing half-written is left behind.

    exit_code: what the command ends with.
    """

    exit_code = 1
