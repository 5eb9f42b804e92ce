"""Benchmarks of the service and the jobs against alternatives: `make bench`, docs/performance.md."""

import scoring  # noqa: F401  # before the libraries, see scoring/no_telemetry.py
