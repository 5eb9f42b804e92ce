"""Scores everybody, or a list, from the offline store."""
