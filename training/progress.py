"""Tells whoever started a training how far it has come."""


def say(line: str) -> None:
    """Print the line at once, also where output is buffered."""
    print(line, flush=True)
