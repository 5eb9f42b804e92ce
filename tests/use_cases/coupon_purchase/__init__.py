"""A use case of the tests: two join keys of two types, and a value that the request gives."""
