"""What is said to a Redis server, and what it says: packed commands, hashes, and the script that it runs for the online store's writes.

Offsets are compared as bytes, or as digits, for Lua's numbers are exact to 2^53 only. Its arguments are walked, never unpacked: what Lua
can unpack ends at some thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headrace.config import Clock
from headrace.online.base import Write
from headrace.online.codec import APPLIED
from headrace.online.meta import CLOCK

__all__ = ["COMMIT", "packed", "pairs", "partials", "portions_of"]

# KEYS: each write's hash, then those of the positions and of the facts. ARGV: how many writes and checks; per write its field,
# the applied offset expected (eight bytes, or none), the record, and when it expires in ms (or nothing: never); per check a
# position's field and the least offset; then fields and values of positions.
COMMIT = f"""
local function is_before(one, other)
  if #one ~= #other then return #one < #other end
  return one < other
end
local writes, checks = tonumber(ARGV[1]), tonumber(ARGV[2])
local positions = KEYS[writes + 1]
local moves = 4 * writes + 3
for i = moves, moves + 2 * checks - 1, 2 do
  local held = redis.call('HGET', positions, ARGV[i])
  if not held or is_before(string.match(held, '^%d+'), ARGV[i + 1]) then return {{'behind', ARGV[i], held}} end
end
for i = 1, writes do
  local found = redis.call('HGET', KEYS[i], ARGV[4 * i - 1])
  local applied = ''
  if found then applied = string.sub(found, {APPLIED.start + 1}, {APPLIED.stop}) end
  if applied ~= ARGV[4 * i] then return {{'stale', i, found}} end
end
local expire = redis.call('HGET', KEYS[writes + 2], '{CLOCK}') == '{Clock.SYSTEM}'
for i = 1, writes do
  local key, expires = KEYS[i], ARGV[4 * i + 2]
  local is_new = redis.call('HSET', key, ARGV[4 * i - 1], ARGV[4 * i + 1])
  if expire and expires ~= '' then
    if is_new == 1 and redis.call('HLEN', key) == 1 then
      redis.call('PEXPIREAT', key, expires)
    else
      redis.call('PEXPIREAT', key, expires, 'GT')
    end
  end
end
for i = moves + 2 * checks, #ARGV, 2 do
  local held = redis.call('HGET', positions, ARGV[i])
  if not held or not is_before(string.match(ARGV[i + 1], '^%d+'), string.match(held, '^%d+')) then
    redis.call('HSET', positions, ARGV[i], ARGV[i + 1])
  end
end
return {{}}
"""


def packed(*words: bytes) -> bytes:
    """A command as Redis reads it."""
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def pairs(fields: list[bytes] | dict[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
    """A hash's fields and values, which a server gives by turns (RESP2) or as a map (RESP3)."""
    return fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)


def partials(fields: list[bytes] | dict[bytes, bytes]) -> list[tuple[int, bytes]]:
    """The records of an entity's hash by source partition, ascending."""
    return sorted((int(field), record) for field, record in pairs(fields)) if fields else []


def portions_of(writes: Sequence[Write], most: int, most_bytes: int) -> list[Sequence[Write]]:
    """Writes in portions of so many and about so many bytes of records at most; one of nothing, where there are none."""
    portions: list[Sequence[Write]] = []
    start = size = 0
    for number, write in enumerate(writes):
        if number - start >= most or size >= most_bytes:
            portions.append(writes[start:number])
            start, size = number, 0
        size += len(write.record)
    return [*portions, writes[start:]]
