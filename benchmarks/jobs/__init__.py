"""Benchmarks of the jobs against stock tools."""
