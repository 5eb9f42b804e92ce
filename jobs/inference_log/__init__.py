"""Reads what the service has answered."""
