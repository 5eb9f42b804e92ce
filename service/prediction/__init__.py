"""Entity keys to answers. Knows no HTTP and no store."""
