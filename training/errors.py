"""Errors of the training room.

TrainingError
├── OrdersError       an orders file cannot be used
├── DatasetError      no training set can be made from the features there are
├── OtherTargetError  a model, or a setting, is about another label than the champion
├── GateError         a model did not earn its alias
├── LedgerError       a move cannot be made or recorded, because somebody else moved
├── ModelImportError  a registered model cannot be imported for serving
├── BrokenPromisesError  definitions of features break a live contract
└── LockedError       another run is under way
"""


class TrainingError(Exception):
    """A step could not be done; the message says what to do about it.

    exit_code: what the command ends with.
    """

    exit_code = 1


class OrdersError(TrainingError):
    """An orders file cannot be used; names file, column, row and what was expected."""


class DatasetError(TrainingError):
    """No training set can be made from the features that there are."""


class OtherTargetError(TrainingError):
    """A model, or a setting, is about another label than the champion; names both lengths and the way out."""


class GateError(TrainingError):
    """The model did not pass the gate; names every reason."""

    exit_code = 4


class LedgerError(TrainingError):
    """A move cannot be made or recorded: aliases and ledger disagree, or another move came first."""


class ModelImportError(TrainingError):
    """The registered model cannot be imported for serving."""


class BrokenPromisesError(TrainingError):
    """Definitions of features do not keep what live models were promised; names model and difference."""


class LockedError(TrainingError):
    """Another run is under way."""

    exit_code = 3
