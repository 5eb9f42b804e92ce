"""Reads what builds of features have written, and where the orders are."""
