"""How fast the service is, beside what could be run instead of it: `make bench`, docs/performance.md."""
