"""Materialization into Redis by our own code: rows of a source encoded as Feast does, written, and read back."""
