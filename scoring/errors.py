"""Errors of the scoring room."""


class ModelError(Exception):
    """A model cannot be used: it is missing, was altered since the import, or holds a type that is not allowed."""


class MissingFileError(ModelError):
    """A file of the model is missing. It may return with its volume, so a retry can help."""


class UnreadableFileError(ModelError):
    """A file of the model exists but cannot be read now, e.g. for lack of file descriptors; a retry can help."""


class ExplanationError(ModelError):
    """Predictions of this model, or of this row, have no exact explanation."""


class LabelsError(ValueError):
    """Labels do not fit their task, or a metric is not defined on them; the message says what is expected."""


class FeatureColumnError(ValueError):
    """A column holds values of another type than its feature has; the message names the feature."""


class FeatureSourceError(Exception):
    """The source of a feature view cannot be read. Names both."""
