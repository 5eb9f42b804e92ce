"""The servers that the service is compared with, each as its own documentation would have it."""
