"""Addresses, files and formats through which the planes exchange artefacts, each defined once.

Imports only the contract from this project.
"""
