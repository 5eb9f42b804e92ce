"""Feast repository of the churn use case. `service/` and `training/` never import it."""
