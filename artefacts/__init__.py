"""Addresses, files and formats through which the planes exchange artefacts, each defined once.

`process` is no artefact: it holds what every process does alike. Imports only the contract from this project.
"""
