import scoring  # noqa: F401  # before the libraries, see scoring/no_telemetry.py
