"""Compares what was served with the offline store, value by value."""
