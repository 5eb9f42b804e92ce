"""The offline store's files: builds, their rows, and the orders."""
