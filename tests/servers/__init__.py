"""Real servers that tests start, each on a port of its own."""
