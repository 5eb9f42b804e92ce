"""The Bento service: an entity key in, a prediction out. Knows contract, artefacts and scoring, and no other room."""

import scoring  # noqa: F401  # before the libraries, see scoring/no_telemetry.py and scoring/feast/quick_import.py
