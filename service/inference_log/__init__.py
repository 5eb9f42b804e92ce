"""Writes every answered row to disk, beside the requests and never in their way."""
