"""Errors of the scoring room."""


class ModelError(Exception):
    """A model cannot be used: it is missing, is not what was imported, or holds a type that is not allowed."""


class ExplanationError(ModelError):
    """Predictions of this model, or of this row, cannot be taken apart exactly."""
