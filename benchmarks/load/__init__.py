"""Bounded loads on loopback, and what the processes under them use."""
