"""Statistics of drift and of the gate, tried on simulated data."""
