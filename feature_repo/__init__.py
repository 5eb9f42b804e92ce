"""Feast's own room: what the features are. Nothing here is imported by `service/` or `training/`."""
