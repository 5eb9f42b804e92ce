"""Writes and removes rows in Redis: all fields of an entity's view in one step, never a row newer than allowed."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import redis

from jobs.errors import JobError
from jobs.materialization.redis_store.encoding import StoredHashes

_ROWS_PER_CALL = 16
"""Entities per call of the script. Redis answers no other client meanwhile, for about 0.2 ms."""

_ROWS_IN_FLIGHT = 4_000
"""Entities sent before their replies are read; bounds the buffers."""

_MOVED_TRIES = 3
_KEYS_PER_SCAN = 1_000

_WRITE = """
-- KEYS: the lock, if a token is given; then the entities' hashes.
-- ARGV: 1 the token that the lock must hold; 2 the time (ms, this server's clock) until which writing is allowed;
-- 3 `upto`: stored rows up to this time are replaced; 4 `beyond`: stored rows after this time are replaced too; 5 n;
-- then n field names; then n values per key, or no values at all to remove the fields. 1 to 4 may be empty.
-- The first field is the event time, a serialised google.protobuf.Timestamp. A stored row stays if it is newer than the
-- given row and not replaced by 3 or 4; one of equal time is overwritten. With '*' as 3, no stored row stays.
local locks = ARGV[1] ~= '' and 1 or 0
if locks == 1 and redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED the lock is gone')
end
if ARGV[2] ~= '' then
  local now = redis.call('TIME')
  if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[2]) then return redis.error_reply('FENCED the time is over') end
end
local upto, beyond, n = ARGV[3], ARGV[4], tonumber(ARGV[5])
local removing = #ARGV == 5 + n

local function time(bytes)
  -- seconds and nanoseconds; nil if it is no Timestamp
  local part, at = {0, 0}, 1
  while at <= #bytes do
    local tag = string.byte(bytes, at)
    local number, scale, inverted, length = 0, 1, 0, 0
    if tag ~= 8 and tag ~= 16 then return nil end
    repeat
      at = at + 1
      length = length + 1
      local byte = string.byte(bytes, at)
      if not byte or length > 10 then return nil end
      if length < 10 then
        number = number + byte % 128 * scale
        inverted = inverted + (127 - byte % 128) * scale
        scale = scale * 128
      end
    until byte < 128
    -- ten bytes are a negative number, in two's complement
    part[tag / 8] = length == 10 and -1 - inverted or number
    at = at + 1
  end
  return part
end

local function newer(stored, given)
  if not stored or stored == given then return false end
  local a, b = time(stored), time(given)
  return a and (a[1] > b[1] or a[1] == b[1] and a[2] > b[2])
end

local function stays(stored, given)
  return upto ~= '*' and newer(stored, given) and (upto == '' or newer(stored, upto))
    and (beyond == '' or not newer(stored, beyond))
end

local changed, fields = 0, {}
for i = 1, n do fields[removing and i or 2 * i - 1] = ARGV[5 + i] end
for row = 1, #KEYS - locks do
  local key, first = KEYS[row + locks], 5 + n * row
  local stored = redis.call('HMGET', key, ARGV[6])[1]
  if removing then
    if not stays(stored, upto) and redis.call('HDEL', key, unpack(fields)) > 0 then changed = changed + 1 end
  elseif not stays(stored, ARGV[first + 1]) then
    for i = 1, n do fields[2 * i] = ARGV[first + i] end
    redis.call('HSET', key, unpack(fields))
    changed = changed + 1
  end
end
return changed
"""
_SHA = hashlib.sha1(_WRITE.encode()).hexdigest().encode()  # noqa: S324  # Redis names scripts so
MOST_FIELDS = 3_500
"""Lua passes at most about 8,000 values to one command; a field takes two."""


ANY_TIME = b"*"
"""Stands for any time: every stored row is replaced."""


@dataclass(frozen=True)
class Fence:
    """Lets Redis refuse rows of a writer that has lost the lock of `locks.online_writer`.

    token: the lock's value while this writer holds it. Not for a cluster, where lock and row may be on different nodes.
    until_ms: for a cluster: writing ends at this time by the servers' clocks, before another writer gets the lock.
    """

    key: bytes
    token: bytes = b""
    until_ms: int | None = None


class FencedError(JobError):
    """The writer's lock ended; Redis refuses its rows, because another may be writing."""


class OnlineRows:
    """Writes and removes online rows; errors are redis-py's.

    Args:
        client: of one server, of a master that Sentinels watch, or of a cluster.
        fence: None if no other writer can run.
        upto: a serialised `Timestamp`: stored rows up to this event time are replaced even if they are newer than the
            written row. Empty: no newer row is replaced. `ANY_TIME`: every row is.
        beyond: a serialised `Timestamp`: stored rows after this event time, in the future, are replaced too.
    """

    def __init__(self, client: Any, fence: Fence | None = None, upto: bytes = b"", beyond: bytes = b"") -> None:
        self._client = client
        self._fence = fence or Fence(b"")
        self._limits = (upto, beyond)
        self._is_cluster = isinstance(client, redis.RedisCluster)

    def write(self, rows: StoredHashes) -> int:
        """Write every row whose stored event time is not newer; each in one step.

        Returns:
            Rows written.

        Raises:
            FencedError: the lock ended; no row was written since.
        """
        return self._call(_Rows(rows.keys, tuple(rows.fields), tuple(rows.fields.values())))

    def remove(self, keys: pa.BinaryArray, fields: Sequence[bytes]) -> int:
        """Remove fields (the first is the event time) of rows whose event time may be replaced; each in one step.

        Returns:
            Rows removed.

        Raises:
            FencedError: the lock ended; no row was removed since.
        """
        return self._call(_Rows(keys, tuple(fields), ()))

    def _call(self, rows: "_Rows") -> int:
        if not self._is_cluster:
            return self._write_to(self._client, rows)
        for attempt in range(_MOVED_TRIES):
            try:
                return sum([self._write_to(node, part) for node, part in self._by_node(rows)])
            except (redis.exceptions.MovedError, redis.exceptions.AskError, redis.exceptions.TryAgainError):
                # Slots are moving between nodes. Writing again is safe: rows of equal time are overwritten.
                if attempt == _MOVED_TRIES - 1:
                    raise
                self._client.nodes_manager.initialize()
        raise AssertionError("unreachable")

    def _by_node(self, rows: "_Rows") -> "Iterator[tuple[Any, _Rows]]":
        owners: dict[Any, list[int]] = {}
        for position, key in enumerate(rows.keys.to_pylist()):
            node = self._client.nodes_manager.get_node_from_slot(self._client.keyslot(key))
            owners.setdefault(node, []).append(position)
        for node, positions in owners.items():
            at = pa.array(positions, pa.int64())
            part = _Rows(rows.keys.take(at), rows.names, tuple(values.take(at) for values in rows.values))
            yield self._client.get_redis_connection(node), part

    def _write_to(self, server: Any, rows: "_Rows") -> int:
        per_call = 1 if self._is_cluster else _ROWS_PER_CALL  # keys of one call must lie in one slot
        connection = server.connection_pool.get_connection()
        written: int = 0
        owed = 0  # replies that Redis still owes
        try:
            connection.send_command("SCRIPT", "LOAD", _WRITE)
            connection.read_response()
            for commands, replies in _script_calls(rows, per_call, self._fence, self._limits):
                connection.send_packed_command([commands], check_health=False)
                # One batch of replies stays unread, so that Redis works while the next is sent.
                written += sum(connection.read_response() for _ in range(owed))
                owed = replies
            written += sum(connection.read_response() for _ in range(owed))
        except BaseException as error:
            connection.disconnect()  # else the next command would read the replies that are left
            if isinstance(error, redis.ResponseError) and str(error).startswith("FENCED"):
                raise FencedError(
                    "writing one chunk took longer than JOBS_LOCK_SECONDS, or this process was paused; Redis refused "
                    "the rest. Raise JOBS_LOCK_SECONDS or lower JOBS_MATERIALIZE_CHUNK_ROWS, and run again"
                ) from None
            raise
        finally:
            server.connection_pool.release(connection)
        return written


@dataclass(frozen=True)
class _Rows:
    """Arguments of the script.

    keys: binary (n,).
    names: names of the fields.
    values: values of each field, binary (n,); empty to remove the fields.
    """

    keys: pa.BinaryArray
    names: tuple[bytes, ...]
    values: tuple[pa.BinaryArray, ...]


def stored_keys(
    client: Any, project: str, join_keys: Sequence[str], at_once: int = _KEYS_PER_SCAN
) -> Iterator[list[bytes]]:
    """Keys of all stored entities with these join keys, at most `at_once` at a time; errors are redis-py's."""
    from scoring.feast.redis_layout import keys_prefix

    prefix = keys_prefix(join_keys)
    pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", prefix) + b"*" + project.encode()
    found = client.scan_iter(pattern, count=_KEYS_PER_SCAN)
    while keys := list(islice(found, at_once)):
        ours = [key for key in keys if _project_of(key, len(prefix), len(join_keys)) == project.encode()]
        if ours:
            yield ours


def _project_of(key: bytes, start: int, values: int) -> bytes:
    """The project at the end of a key. Each value before it has type and length, four bytes each, and its bytes."""
    for _ in range(values):
        start += 8 + int.from_bytes(key[start + 4 : start + 8], "little")
    return key[start:]


def _script_calls(rows: _Rows, per_call: int, fence: Fence, limits: tuple[bytes, bytes]) -> Iterator[tuple[bytes, int]]:
    """Script calls in the Redis protocol, a batch at a time, with the number of calls in it."""
    until = b"" if fence.until_ms is None else b"%d" % fence.until_ms
    names = b"".join(_bulk_string(word) for word in (fence.token, until, *limits, b"%d" % len(rows.names), *rows.names))
    locks = 1 if fence.token else 0
    lock = _bulk_string(fence.key) if locks else b""
    words_per_row = len(rows.values) + 1
    for start in range(0, len(rows.keys), _ROWS_IN_FLIGHT):
        batch = slice(start, start + _ROWS_IN_FLIGHT)
        keys = _bulk_strings([rows.keys[batch]])
        values = _bulk_strings([column[batch] for column in rows.values]) if rows.values else None
        parts: list[bytes | memoryview] = []
        for first in range(0, len(keys), per_call):
            last = min(first + per_call, len(keys))
            words = 8 + locks + len(rows.names) + words_per_row * (last - first)
            head = (
                b"*%d\r\n$7\r\nEVALSHA\r\n" % words
                + _bulk_string(_SHA)
                + _bulk_string(b"%d" % (locks + last - first))
                + lock
            )
            parts += [head, _slice_bytes(keys, first, last), names]
            parts += [_slice_bytes(values, first, last)] if values is not None else []
        yield b"".join(parts), -(-len(keys) // per_call)


def _bulk_string(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def _bulk_strings(columns: list[pa.BinaryArray]) -> pa.BinaryArray:
    """The words of each row in the Redis protocol, joined."""
    end = pa.scalar(b"\r\n", pa.binary())
    joined = []
    for column in columns:
        lengths = pc.dictionary_encode(pc.binary_length(column))
        heads = pa.array([b"$%d\r\n" % length for length in lengths.dictionary.to_pylist()], pa.binary())
        joined += [heads.take(lengths.indices), column, end]
    return pc.binary_join_element_wise(*joined, pa.scalar(b"", pa.binary()))


def _slice_bytes(words: pa.BinaryArray, first: int, last: int) -> memoryview:
    _, offsets, data = words.buffers()
    edges = memoryview(offsets).cast("i")
    return memoryview(data)[edges[words.offset + first] : edges[words.offset + last]]
