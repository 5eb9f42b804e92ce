"""Errors of the contract room.

ContractError
├── ContractVersionError   written by a later version of this code
├── ContractMismatchError  the registry and the contract disagree
└── OverrideError          a caller's override names no input or has the wrong type
"""

from pydantic import ValidationError


class ContractError(ValueError):
    """A contract cannot be read, built or obeyed; the message names the part that is wrong."""


class ContractVersionError(ContractError):
    """The contract's `schema_version` is later than this code understands."""


class ContractMismatchError(ContractError):
    """The live feature registry no longer offers what the contract promises.

    Attributes:
        differences: one sentence per difference, each naming the feature, view or key.
    """

    def __init__(self, differences: list[str]) -> None:
        self.differences = differences
        super().__init__("contract and feature registry disagree: " + "; ".join(differences))


class OverrideError(ContractError):
    """An override cannot be used.

    Attributes:
        field: path of the offending member of the request, e.g. `features.view__feature`.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def setting_problem(error: ValidationError, prefix: str) -> str:
    """One line about a setting that is out of range: its variable and what was expected, never its value."""
    problem = error.errors(include_url=False, include_input=False)[0]
    if not problem["loc"]:  # a rule between settings, which names them
        return str(problem["ctx"]["error"])
    name = "_".join(str(part) for part in problem["loc"]).upper()
    return f"{prefix}{name}: {problem['msg']}"
