"""Erases one entity: notes a keyed digest of its key first, removes its rows place by place, and reads back.

A killed run has noted the digest, so nothing that is delivered meanwhile brings the entity back. The next run with the
same key does what is left. The receipt is written when every place has been read again.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artefacts.addresses import Artefacts
from artefacts.offline_place import is_built
from artefacts.process.atomic_files import write_atomically
from contract import KeyValue
from jobs.erasure.builds import Builds
from jobs.erasure.entity import Entity, parsed
from jobs.erasure.online import InRedis, in_another_store
from jobs.erasure.places import Files, Place, has_pseudonyms, requests_of
from jobs.erasure.rewriting import OpenLogError
from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.features.source import EventSource, event_paths
from jobs.materialization.another_store import only_run
from jobs.materialization.locks import FAILURES, RunLock
from jobs.materialization.owners import claim
from jobs.materialization.redis_store.online_entity import OnlineEntity
from jobs.materialization.redis_store.redis_client import client_beside
from jobs.offline_store.foreign_sources import described
from jobs.offline_store.latest_rows import ViewSource
from jobs.offline_store.owner import owner_of
from jobs.settings import JobsSettings
from jobs.stream.checkpoint import stream_lock
from scoring.erased_keys import ErasedKeys
from scoring.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_LOG = logging.getLogger(__name__)


class LeftError(JobError):
    """Something of the entity is left; the message says what, and who can remove it."""

    exit_code = 4


@dataclass(frozen=True)
class Erasure:
    """What to erase.

    key: as `KEY` of `make erase`.
    out: folder of receipts.
    folders: files and folders in which jobs and services have written: those in `var/` of all use cases that use these
        features, and others.
    id_key_files: keys of the log's pseudonyms, the present one and former ones.
    dry_run: count only.
    """

    key: str
    out: Path
    folders: tuple[Path, ...] = ()
    id_key_files: tuple[Path, ...] = ()
    dry_run: bool = False


def erase(artefacts: Artefacts, source: EventSource | None, asked: Erasure, settings: JobsSettings) -> str:
    """Erase the entity and write the receipt.

    Args:
        source: the events, where builds read them; None for a use case with features of its own.

    Returns:
        What was done, in one line without the key.

    Raises:
        ArgumentError: the key does not fit the join keys.
        LockedError: a materialization is running.
        OtherOwnerError: the online rows are another offline store's; nothing was done.
        LeftError: all was erased but what the message names.
        JobError: nothing was found; a stream or a build is running; Redis did not answer; a file is damaged.
    """
    store = open_feature_store(artefacts)
    views = [view for view in store.list_feature_views() if view.entity_columns]
    entity = _entity(views, asked)
    logs = _logs(artefacts, asked)
    if not asked.id_key_files and has_pseudonyms(logs, tuple(entity.values)):
        raise JobError("the inference log holds pseudonyms; give the key that made them, ID_KEY_FILE=…")
    erased = ErasedKeys.of(artefacts.offline_store)
    with _locks(artefacts, source, store, views, settings) as redis:
        files, build, online = _places(artefacts, source, store, views, asked, settings, entity, redis)
        places: list[Place] = [files, build, online]
        found = {place.name: place.count() for place in places}
        total = sum(sum(counts.values()) for counts in found.values())
        left, not_ours = _left(places), _not_ours(artefacts, views, entity)
        if asked.dry_run:
            said = [f"left: {each}" for each in (*left, *not_ours)] + _unread(files.unread)
            return "\n  ".join([f"{total:,} would be erased", *_lines(found), *said])
        if not total and not left and not erased.has(entity.values):
            said = [f"; not looked into: {each}" for each in (*not_ours, *files.unread)]
            raise JobError(f"nothing was found under this key; nothing was changed{''.join(said)}")
        if not erased.has(entity.values):
            erased.add(entity.values)
        left = _erased(places, found) + not_ours
        return _receipt(asked.out, found, left, files.unread)


def _entity(views: "Sequence[FeatureView]", asked: Erasure) -> Entity:
    types: dict[str, str] = {}
    for view in views:
        source = ViewSource.of(view)
        types |= dict(zip(source.join_keys, source.key_dtypes, strict=True))
    if not types:
        raise JobError("no feature views are registered; run `make apply` first")
    values: dict[str, KeyValue] = parsed(asked.key, types)
    return Entity.of(values, [Pseudonyms.from_file(file) for file in asked.id_key_files])


@contextmanager
def _locks(
    artefacts: Artefacts,
    source: EventSource | None,
    store: "FeatureStore",
    views: "Sequence[FeatureView]",
    settings: JobsSettings,
) -> Iterator[tuple[Any, RunLock] | None]:
    """Keep the stream and materializations away; yields Redis, or None for another online store."""
    with ExitStack() as held:
        if source is not None and (streamed := event_paths(source)[1]).is_dir():  # every stream locks it
            held.enter_context(stream_lock(streamed))
        if store.config.online_store.type != "redis":
            held.enter_context(only_run(artefacts, store.project))
            yield None
            return
        if artefacts.redis_url is None:
            raise JobError("REDIS_URL is not set and no embedded server runs; `make redis` starts one")
        try:
            client = client_beside(store, artefacts.redis_url)
            lock = RunLock(client, f"{store.project}:materialize", "materialization", settings.lock_seconds)
            held.enter_context(lock)
            if any(map(is_built, views)):
                claim(client, store.project, owner_of(artefacts.offline_store, settings.owner))
        except FAILURES as error:
            raise JobError(f"Redis did not answer: {type(error).__name__}") from None
        yield client, lock


def _places(
    artefacts: Artefacts,
    source: EventSource | None,
    store: "FeatureStore",
    views: "Sequence[FeatureView]",
    asked: Erasure,
    settings: JobsSettings,
    entity: Entity,
    redis: tuple[Any, RunLock] | None,
) -> tuple[Files, Builds, Place]:
    """In the order in which they are erased: what others are made of first."""
    events = () if source is None else event_paths(source)
    streamed = events[1] if events else artefacts.offline_store / "streamed"
    if redis is None:
        online = in_another_store(store, views, entity.values)
    else:
        client, lock = redis
        online = InRedis(OnlineEntity(client, store.project, views, entity.values, lock, settings.lock_seconds))
    logs = _logs(artefacts, asked)
    imported = sorted(artefacts.offline_store.glob("*.parquet"))  # a CSV file's table, see training/tables
    folders = [*events, *asked.folders, *imported, artefacts.offline_store / "feature_log", *logs]
    there = [folder for folder in dict.fromkeys(folders) if folder.exists()]
    return Files(entity, there, requests_of(logs, entity)), Builds(entity, artefacts.offline_store, streamed), online


def _logs(artefacts: Artefacts, asked: Erasure) -> list[Path]:
    return list(dict.fromkeys([*(folder / "inference_log" for folder in asked.folders), artefacts.inference_log]))


def _erased(places: Sequence[Place], found: dict[str, dict[str, int]]) -> list[str]:
    """Erase every place and read it again; `found` keeps what was removed.

    Returns:
        What is left, a sentence each.
    """
    left = []
    for place in places:
        try:
            if found[place.name]:
                place.erase()
                _LOG.info(f"  {place.name}: {sum(found[place.name].values()):,} erased")
        except OpenLogError as error:
            left.append(f"{error}; run this again then")
    for place in places:
        known = " ".join(left)
        counted = place.count()
        left += [f"{where}: {count:,} are left" for where, count in counted.items() if where not in known]
        left += place.left()
        removed = {where: count - counted.get(where, 0) for where, count in found[place.name].items()}
        found[place.name] = {where: count for where, count in removed.items() if count > 0}
    return left


def _left(places: Sequence[Place]) -> list[str]:
    return [each for place in places for each in place.left()]


def _not_ours(artefacts: Artefacts, views: "Sequence[FeatureView]", entity: Entity) -> list[str]:
    """Rows that somebody else keeps."""
    own = f"{artefacts.offline_store}/"  # what `make data` imports there is a file of ours
    foreign = [
        view
        for view in views
        if not is_built(view)
        and not str(getattr(view.batch_source, "path", "")).startswith(own)
        and entity.is_in(ViewSource.of(view).join_keys)
    ]
    if not foreign:
        return []
    return [
        f"{described(foreign)}: somebody else's rows, left as they are; delete the key there, or the next "
        "`make data` or `make materialize` brings it back"
    ]


def _unread(files: Sequence[str]) -> list[str]:
    return [f"not read, look into it yourself: {each}" for each in files]


def _lines(found: dict[str, dict[str, int]]) -> list[str]:
    return [f"{name}: {where}: {count:,}" for name, counts in found.items() for where, count in counts.items()]


def _receipt(out: Path, found: dict[str, dict[str, int]], left: list[str], unread: list[str]) -> str:
    now = datetime.now(UTC)
    receipt = out / f"{now:%Y%m%dT%H%M%S%f}.json"
    told = {"erased_at": now.isoformat(timespec="seconds"), "erased": found, "left": left, "not_read": unread}
    write_atomically(receipt, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    if left:
        raise LeftError(f"not everything is erased, see {receipt}: {'; '.join([*left, *_unread(unread)])}")
    total = sum(sum(counts.values()) for counts in found.values())
    return "\n  ".join([f"{total:,} erased, none left; {receipt}", *_lines(found), *_unread(unread)])
