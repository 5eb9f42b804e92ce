"""Erasing one entity, without stores."""
