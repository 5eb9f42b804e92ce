"""What a version has to show before an alias may point at it."""
