"""Use cases of the tests."""
