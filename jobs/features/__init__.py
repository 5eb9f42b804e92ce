"""Builds of the offline store: orders → feature rows."""
