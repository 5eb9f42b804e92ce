"""A shop's month on the real commands and the running service, held against an independent computation of every value.

`python -m tests.daily_life --help` runs it on a file of one's own; docs/own-orders.md says what came out.
"""
