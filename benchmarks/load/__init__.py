"""Bounded load on loopback, and the resource usage of the processes under it."""
