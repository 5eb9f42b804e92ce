"""Notes in Redis up to when the online windowed rows reach, for the service's `/readyz`."""

from datetime import datetime
from typing import Any

from artefacts.newest_snapshot import FIELD, key_of


def note_newest_snapshot(client: Any, project: str, newest: str, until: datetime) -> None:
    """Store the newest snapshot's time, after a run without failures; errors are redis-py's.

    Args:
        newest: ISO time of the build's newest snapshot; empty: there is none.
        until: rows up to this were written. If it is before `newest`, online rows may be older or newer than the run,
            so the note is removed.
    """
    if newest and (at := datetime.fromisoformat(newest)) <= until:
        client.hset(key_of(project), FIELD, f"{at.timestamp():.0f}")
    else:
        client.hdel(key_of(project), FIELD)
