"""What clients see: paths, bodies, answers, errors, limits and keys."""
