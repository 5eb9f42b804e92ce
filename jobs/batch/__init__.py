"""Batch scoring: scores every key, or a list, from the offline store."""
