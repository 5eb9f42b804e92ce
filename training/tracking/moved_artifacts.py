"""MLflow's SQLite database after its folder was moved or copied: it keeps the absolute address of every artifact.

MLflow has no call that changes an address; without the change, training would go on writing to the old place.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow_moved_database(database: Path, experiment: str) -> str | None:
    """Have the addresses in a database begin with the folder `artifacts` beside it, if they were moved along.

    An experiment whose artifacts lie elsewhere on purpose is left alone: they still exist there, and none are here.

    Args:
        database: MLflow's SQLite file; it need not exist yet.
        experiment: the one whose artifacts show the old place.

    Returns:
        The old folder; None if nothing was changed.

    Raises:
        sqlite3.Error: the file is not a database, or cannot be written.
    """
    here = database.parent.resolve() / "artifacts"
    if not database.is_file() or not database.stat().st_size:
        return None
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {table for table, _ in _ADDRESSES} <= tables:  # before MLflow has brought it up to date
            return None
        found = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)).fetchone()
        before = _folder(found[0]) if found else None
        if before is None or before == here or (before.exists() and not here.exists()):
            return None
        for table, column in _ADDRESSES:
            for old, new in ((found[0], here.as_uri()), (str(before), str(here))):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, length(?) + 1) "  # noqa: S608
                    f"WHERE {column} = ? OR substr({column}, 1, length(?) + 1) = ? || '/'",
                    (new, old, old, old, old),
                )
    return str(before)


def _folder(address: str) -> Path | None:
    """The local folder of an address; None: it is elsewhere."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(address) if address.startswith("/") else None
