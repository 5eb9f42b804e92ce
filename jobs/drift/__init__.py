"""Compares live inputs and scores with a baseline."""
