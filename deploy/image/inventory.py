"""Prints an image's packages as JSON; runs in the image itself, with Python's standard library only.

`python`: installed distributions with name, version and bytes on disk, bytecode included.
`debian`: packages with name, version, architecture and bytes.
"""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path


def distributions() -> list[dict[str, object]]:
    """List the distributions that Python finds."""
    found = []
    for distribution in importlib.metadata.distributions():
        size = 0
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            files = [path]
            if path.suffix == ".py":
                files.append(Path(importlib.util.cache_from_source(str(path))))
            size += sum(each.stat().st_size for each in files if each.is_file())
        found.append({"name": distribution.metadata["Name"], "version": distribution.version, "bytes": size})
    return found


def debian_packages() -> list[dict[str, object]]:
    """List the packages that dpkg has installed."""
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package}\t${Version}\t${Architecture}\t${Installed-Size}\n"],  # noqa: S607
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
    ).stdout
    rows = (line.split("\t") for line in listed.splitlines())
    return [
        {"name": name, "version": version, "architecture": architecture, "bytes": int(kilobytes or 0) * 1024}
        for name, version, architecture, kilobytes in rows
    ]


if __name__ == "__main__":
    json.dump({"python": distributions(), "debian": debian_packages()}, sys.stdout)
