"""Scheduled work: orders → offline store → online store. Knows contract, scoring and the transformations only."""

import scoring  # noqa: F401  # before feast, see scoring/quick_feast.py
