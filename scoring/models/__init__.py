"""A model as it was imported: its files, verified, and how its scores are computed."""
