"""What a developer's machine needs: an embedded Redis, a free port, a first request."""
