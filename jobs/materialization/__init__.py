"""Materialization: offline store → online store, the latest row of every entity."""
