"""Errors that every plane reports alike."""


class SourceError(Exception):
    """What a use case brings of its own, its rows or their labels, cannot be used. Names file, column and remedy."""
