"""The fast reader: a feature service compiled to Redis commands and decoders."""
