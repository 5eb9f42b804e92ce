"""Jobs: events → offline store → online store, scoring, audits and reports."""

import scoring  # noqa: F401  # before the libraries, see scoring/no_telemetry.py and scoring/feast/quick_import.py
