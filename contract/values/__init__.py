"""Values of inputs and requests: vocabularies, counts, and checks of what a caller gives."""
