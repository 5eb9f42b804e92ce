"""Errors of the contract room.

ContractError
├── ContractVersionError   the contract was written by a newer version of this code
├── ContractMismatchError  the registry and the contract disagree
└── OverrideError          a caller's override names no input or has the wrong type
"""

from pydantic import ValidationError


class ContractError(ValueError):
    """A contract cannot be read, built or obeyed. The message names the wrong part."""


class ContractVersionError(ContractError):
    """The contract's `schema_version` is newer than this code supports."""


class ContractMismatchError(ContractError):
    """The live feature registry does not offer what the contract promises.

    Attributes:
        differences: one sentence per difference; each names the feature, view or key.
    """

    def __init__(self, differences: list[str]) -> None:
        self.differences = differences
        super().__init__("contract and feature registry disagree: " + "; ".join(differences))


class OverrideError(ContractError):
    """An override cannot be used.

    Attributes:
        field: path of the invalid member in the request, e.g. `features.view__feature`.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def setting_problem(error: ValidationError, prefix: str) -> str:
    """Describe the first invalid setting in one line: its variable and what is expected, never its value."""
    problem = error.errors(include_url=False, include_input=False)[0]
    if not problem["loc"]:  # a rule across settings; its text names them
        return str(problem["ctx"]["error"])
    name = "_".join(str(part) for part in problem["loc"]).upper()
    return f"{prefix}{name}: {problem['msg']}"
