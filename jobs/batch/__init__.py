"""Batch scoring: scores all customers, or a list, from the offline store."""
