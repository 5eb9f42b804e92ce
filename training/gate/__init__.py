"""Decides whether a model version may get an alias."""
