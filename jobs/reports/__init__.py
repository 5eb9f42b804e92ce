"""Writes the reports of jobs: JSON, metrics, and HTML pages with charts."""
