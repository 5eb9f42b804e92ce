"""Compares answers with what came of them."""
