"""Scheduled work: orders → offline store → online store. Knows the contract and the transformations only."""
