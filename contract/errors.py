"""Errors of the contract room.

ContractError
├── ContractVersionError   the contract was written by a newer version of this code
├── ContractMismatchError  the registry and the contract disagree
└── OverrideError          a caller's override names no input or has the wrong type
"""


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
