"""Erasing one entity."""
