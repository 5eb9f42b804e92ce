"""From orders to a registered, imported model. Knows contract and scoring; never imported by the service."""

import scoring  # noqa: F401  # before feast, see scoring/quick_feast.py
