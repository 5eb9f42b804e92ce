"""The service beside what else could be run, over HTTP."""
