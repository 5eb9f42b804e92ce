"""The offline store's files: builds, and their rows."""
