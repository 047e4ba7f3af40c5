"""Rows on a Redis server, in the database of the online store.

    headrace:rows:VIEW:ENTITY   sequence, event time, created (8 bytes each, the most significant first), values
    headrace:rows-sequence      the number of the last write
    headrace:rows-views         set: the views that have rows

A script writes a chunk: it compares event times and writes, and nothing comes between. Chunks are sent together, and
answered in order. A read is one MGET: one round trip and one moment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice

from headrace.rows.base import NO_TIME, Row, RowStore, StoredRow, Written, age, newest_rows
from headrace.stores.redis.client import open_client, server_errors, without_password

__all__ = ["RedisRows"]

_PREFIX = b"headrace:rows:"
_SEQUENCE = b"headrace:rows-sequence"
_VIEWS = b"headrace:rows-views"

_TIMES = struct.Struct(">QQ")
_HEADER = struct.Struct(">QQQ")
_BIAS = 1 << 63  # so that times before 1970 are positive
_SENT_TOGETHER = 20
"""How many chunks are sent before the first is answered."""

# KEYS: the rows, then the sequence and the views. ARGV: the view, then per row its event time, created and values.
# Both times are compared by halves: Lua's numbers are exact to 2^53 only, and it compares texts by the server's locale.
_WRITE = """
local rows, changed, sequence = #KEYS - 2, 0, nil
for i = 1, rows do
  local held = redis.call('GETRANGE', KEYS[i], 8, 23)
  local wins = true
  if #held == 16 then
    local old = {struct.unpack('>I4I4I4I4', held)}
    local new = {struct.unpack('>I4I4I4I4', ARGV[i + 1])}
    for half = 1, 4 do
      if new[half] ~= old[half] then
        wins = new[half] > old[half]
        break
      end
    end
  end
  if wins then
    if not sequence then
      local number = redis.call('INCR', KEYS[rows + 1])
      sequence = struct.pack('>I4I4', math.floor(number / 4294967296), number % 4294967296)
      redis.call('SADD', KEYS[rows + 2], ARGV[1])
    end
    redis.call('SET', KEYS[i], sequence .. ARGV[i + 1])
    changed = changed + 1
  end
end
return changed
"""


class RedisRows(RowStore):
    """Rows in a Redis database.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads them.
        chunk_rows: How many rows a script writes at most: no reader waits longer than that takes.
        read_rows: How many rows are read at one moment at most.

    Raises:
        ConfigError: The URL is not one.
        StoreUnavailableError: No server answers there, or it cannot serve just now.
        StoreError: The server refuses us.
    """

    def __init__(self, url: str, *, chunk_rows: int = 500, read_rows: int = 10_000) -> None:
        super().__init__(chunk_rows)
        self._name = without_password(url)
        self._read_rows = read_rows
        self._client = open_client(url)
        self._script = self._client.register_script(_WRITE)

    def write(self, view: str, rows: Iterable[Row]) -> Written:
        given = changed = 0
        rest = iter(rows)
        while chunks := list(islice(_chunks(rest, self._chunk_rows), _SENT_TOGETHER)):
            given += sum(map(len, chunks))
            with self._errors(), self._client.pipeline(transaction=False) as pipe:
                for chunk in chunks:
                    self._send(pipe, view, newest_rows(chunk))
                changed += sum(pipe.execute())
        return Written(given, changed)

    def _write_chunk(self, view: str, rows: Sequence[Row]) -> int:
        with self._errors(), self._client.pipeline(transaction=False) as pipe:
            self._send(pipe, view, rows)
            return int(pipe.execute()[0])

    def _send(self, pipe: object, view: str, rows: Sequence[Row]) -> None:
        prefix = _prefix(view)
        keys = [*(prefix + row.entity for row in rows), _SEQUENCE, _VIEWS]
        self._script(keys, [view.encode(), *map(_packed, rows)], client=pipe)

    def read_views(self, wanted: Mapping[str, Sequence[bytes]]) -> dict[str, list[StoredRow | None]]:
        keys = [_prefix(view) + entity for view, entities in wanted.items() for entity in entities]
        values: list[bytes | None] = []
        with self._errors():
            for start in range(0, len(keys), self._read_rows):
                values += self._client.mget(keys[start : start + self._read_rows])
        rows = iter([None if value is None else _row(value) for value in values])
        return {view: list(islice(rows, len(entities))) for view, entities in wanted.items()}

    def views(self) -> set[str]:
        with self._errors():
            return {view.decode() for view in self._client.smembers(_VIEWS)}

    def entities(self, view: str) -> Iterator[bytes]:
        prefix = _prefix(view)
        with self._errors():
            found = dict.fromkeys(self._client.scan_iter(match=prefix + b"*", count=1000))  # some come twice
        return iter([key.removeprefix(prefix) for key in found])

    def delete(self, view: str, entities: Iterable[bytes]) -> int:
        keys = [_prefix(view) + entity for entity in set(entities)]
        with self._errors():
            return int(self._client.unlink(*keys)) if keys else 0

    def clear(self, view: str) -> None:
        with self._errors():
            cursor = -1
            while cursor != 0:
                cursor, keys = self._client.scan(max(cursor, 0), match=_prefix(view) + b"*", count=1000)
                if keys:
                    self._client.unlink(*keys)
            self._client.srem(_VIEWS, view.encode())

    def close(self) -> None:
        self._client.close()

    def _errors(self) -> AbstractContextManager[None]:
        return server_errors(self._name)


def _chunks(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, size)):
        yield chunk


def _prefix(view: str) -> bytes:
    return b"%b%b:" % (_PREFIX, view.encode())


def _packed(row: Row) -> bytes:
    event_us, created = age(row)
    return _TIMES.pack(event_us + _BIAS, created + _BIAS) + row.values


def _row(value: bytes) -> StoredRow:
    sequence, event, created = _HEADER.unpack_from(value)
    created_us = created - _BIAS
    return StoredRow(event - _BIAS, None if created_us == NO_TIME else created_us, sequence, value[_HEADER.size :])
