"""Decides which version serves, moves the aliases and keeps the ledger."""
