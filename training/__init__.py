"""From orders to a registered and imported model. Imports contract, artefacts and scoring, never the service."""

import scoring  # noqa: F401  # before the libraries, see scoring/no_telemetry.py and scoring/feast/quick_import.py
