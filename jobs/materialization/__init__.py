"""Offline store to online store: the latest row of every customer."""
