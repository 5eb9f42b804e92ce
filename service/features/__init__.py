"""Reads features from the online store in bounded time."""
