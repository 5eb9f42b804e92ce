"""Errors of the training room.

TrainingError
├── OrdersError       an orders file cannot be used
├── DatasetError      no training set can be made from the features there are
├── GateError         a model did not earn the alias `champion`
└── ModelImportError  a registered model cannot be imported for serving
"""


class TrainingError(Exception):
    """A step could not be done; the message says what to do about it."""


class OrdersError(TrainingError):
    """An orders file cannot be used; names file, column, row and what was expected."""


class DatasetError(TrainingError):
    """No training set can be made from the features that there are."""


class GateError(TrainingError):
    """The model did not pass the gate; names every reason."""


class ModelImportError(TrainingError):
    """The registered model cannot be imported for serving."""
