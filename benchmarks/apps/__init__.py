"""Servers that the service is compared with, each as its own documentation shows it."""
