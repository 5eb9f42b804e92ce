"""The jobs beside stock tools."""
