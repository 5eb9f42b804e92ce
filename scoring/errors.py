"""Errors of the scoring room."""


class ModelError(Exception):
    """A model cannot be used: it is missing, is not what was imported, or holds a type that is not allowed."""


class MissingFileError(ModelError):
    """A file of the model is not there. It may come back, with the volume that it is on."""


class UnreadableFileError(ModelError):
    """A file that the model needs is there and cannot be read just now: no file descriptor may be free."""


class ExplanationError(ModelError):
    """Predictions of this model, or of this row, cannot be taken apart exactly."""
