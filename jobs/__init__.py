"""Scheduled work: orders → offline store → online store. Knows contract, scoring and the transformations only."""

import scoring  # noqa: F401  # before the libraries, see scoring/no_telemetry.py and scoring/feast/quick_import.py
