"""From orders to a registered, imported model. Knows contract and scoring; never imported by the service."""

import scoring  # noqa: F401  # before the libraries, see scoring/no_telemetry.py and scoring/feast/quick_import.py
