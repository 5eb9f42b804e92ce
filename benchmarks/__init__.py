"""How fast the service is, beside what could be run instead of it: `make bench`, docs/performance.md."""

import scoring  # noqa: F401  # before the libraries, see scoring/no_telemetry.py
