"""Errors of the training room.

TrainingError
├── UseCaseError     the use case cannot be loaded, or contradicts itself or the registry
├── OrdersError       an orders file cannot be used
├── DatasetError      the features give no training set
├── OtherTargetError  a model or a setting has another label than the champion
├── GateError         a model did not pass the gate
├── LedgerError       a move conflicts with another move
├── ModelImportError  a registered model cannot be imported
├── BrokenPromisesError  feature definitions break a live contract
└── LockedError       another run is in progress
"""


class TrainingError(Exception):
    """A step failed; the message names the remedy.

    exit_code: exit code of the command.
    """

    exit_code = 1


class UseCaseError(TrainingError):
    """The use case cannot be used. Names the member that is wrong."""


class OrdersError(TrainingError):
    """An orders file cannot be used. Names file, column, row and what was expected."""


class DatasetError(TrainingError):
    """The features and labels give no training set."""


class OtherTargetError(TrainingError):
    """A model or a setting has another label than the champion. Names both lengths and the remedy."""


class GateError(TrainingError):
    """The model did not pass the gate. Names every reason."""

    exit_code = 4


class LedgerError(TrainingError):
    """A move cannot be made or recorded: aliases and ledger disagree, or another move came first."""


class ModelImportError(TrainingError):
    """A registered model cannot be imported for serving."""


class BrokenPromisesError(TrainingError):
    """Feature definitions break the contracts of live models. Names model and difference."""


class LockedError(TrainingError):
    """Another run is in progress."""

    exit_code = 3
