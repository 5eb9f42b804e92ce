"""Imported models: their verified files, and how their scores are computed."""
