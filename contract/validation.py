"""What pydantic finds wrong, in one line."""

from typing import Any, NamedTuple

from pydantic import ValidationError


class Problem(NamedTuple):
    """The first thing that is wrong with a document.

    where: path of the member, parts between dots; empty if it is about the whole document.
    what: what was expected.
    value: what was given; None unless it was asked for.
    """

    where: str
    what: str
    value: Any = None


def first_problem(error: ValidationError, with_value: bool = False) -> Problem:
    """The first of the problems.

    Args:
        with_value: also say what was given. Off by default: a value may be a secret, or large.
    """
    problem = error.errors(include_url=False, include_context=False, include_input=with_value)[0]
    return Problem(".".join(map(str, problem["loc"])), problem["msg"], problem.get("input"))


def setting_problem(error: ValidationError, prefix: str) -> str:
    """Describe the first invalid setting in one line: its variable and what is expected, never its value."""
    problem = first_problem(error)
    if not problem.where:  # a rule across settings; its text names them
        return problem.what.removeprefix("Value error, ")
    return f"{prefix}{problem.where.replace('.', '_').upper()}: {problem.what}"
