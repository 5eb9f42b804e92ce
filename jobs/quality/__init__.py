"""Compares answers with what became of the customers."""
