"""Erases one entity from everything that this project keeps of it (docs/erasure.md)."""
