"""The online store's writes on a Redis server, as commands: either a script alone, or a transaction of a script, plain commands and a script.

**A script** (`portion`) checks and writes a few records. It is what the system clock's commits are made of.

**A transaction** (`transaction`) writes any number of records at one moment. Lua makes a string of its own of all that it touches, and
hashes every byte of it, so that a record which goes through Lua costs the server more than the rest of its write. Here the new records are
plain HSETs, and a script before them does the checks. A MULTI cannot be given up half-way: where a check fails, that script puts aside what
the store held, and another one, behind the HSETs, puts it back. Nobody sees what was between. (Records that expire are none of its business.)

Offsets are compared as bytes, or as digits, for Lua's numbers are exact to 2^53 only. Arguments are walked, never unpacked: what Lua
can unpack ends at some thousand.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, groupby

from headrace.config import Clock
from headrace.events.source_partition import SourcePartition
from headrace.records.layout import APPLIED
from headrace.stores.base import Position, Write
from headrace.stores.redis.protocol import fields_of, names_of, numbers, packed, source_field, word

__all__ = ["CHECKED", "META", "POSITIONS", "portion", "transaction"]

POSITIONS = b"headrace:positions"
META = b"headrace:meta"
_ASIDE = b"headrace:aside"
CHECKED = 4
"""Which of a transaction's answers is that of its check."""

_ONE_BEFORE = """
local function is_before(one, other)
  if #one ~= #other then return #one < #other end
  return one < other
end
"""

# Positions only move forward.
_MOVE = """
for i = moves, #ARGV, 2 do
  local held = redis.call('HGET', positions, ARGV[i])
  if not held or not is_before(string.match(ARGV[i + 1], '^%d+'), string.match(held, '^%d+')) then
    redis.call('HSET', positions, ARGV[i], ARGV[i + 1])
  end
end
"""

# KEYS: each write's hash, then those of the positions and of the facts. ARGV: how many writes and checks; per write its field,
# the applied offset expected (eight bytes, or none), the record, and when it expires in ms (or nothing: never); per check a
# position's field and the least offset; then fields and values of positions.
_PORTION = f"""{_ONE_BEFORE}
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
local expire = redis.call('HGET', KEYS[writes + 2], 'clock') == '{Clock.SYSTEM}'
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
moves = moves + 2 * checks
{_MOVE}
return {{}}
""".encode()

# KEYS: each write's hash, then those of the positions and of what is put aside. ARGV: the applied offsets expected (eight bytes each), how many
# runs and checks; per run of writes with one field that field and how many they are; per check a position's field and the least offset.
#
# Its first command changes nothing. But a script that has written cannot be killed, and what comes behind this one must not run unchecked.
_CHECK = f"""{_ONE_BEFORE}
local expected, runs, checks = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local positions, aside = KEYS[#KEYS - 1], KEYS[#KEYS]
local last = 2 * runs + 2
redis.call('UNLINK', aside)
local function refusal()
  local there = redis.pcall('HLEN', positions)
  if type(there) == 'table' then return there end
  for i = last + 2, last + 2 * checks, 2 do
    local held = redis.pcall('HGET', positions, ARGV[i])
    if type(held) == 'table' then return held end
    if not held or is_before(string.match(held, '^%d+'), ARGV[i + 1]) then return {{'behind', ARGV[i], held}} end
  end
  local i = 0
  for run = 4, last, 2 do
    local field = ARGV[run]
    for _ = 1, tonumber(ARGV[run + 1]) do
      i = i + 1
      local found = redis.pcall('HGET', KEYS[i], field)
      if type(found) == 'table' then return found end
      local applied = 'nothing.'
      if found then applied = string.sub(found, {APPLIED.start + 1}, {APPLIED.stop}) end
      if applied ~= string.sub(expected, 8 * i - 7, 8 * i) then return {{'stale', i, found}} end
    end
  end
end
-- Whatever goes wrong while checking is a refusal, for what comes behind is written in any case.
local ran, refused = pcall(refusal)
if not ran then refused = redis.error_reply('ERR ' .. tostring(refused)) end
if not refused then return {{}} end
redis.call('HSET', aside, 0, '')
local i = 0
for run = 4, last, 2 do
  for _ = 1, tonumber(ARGV[run + 1]) do
    i = i + 1
    local found = redis.pcall('HGET', KEYS[i], ARGV[run])
    if type(found) ~= 'table' then
      redis.call('HSET', aside, i, cmsgpack.pack({{KEYS[i], ARGV[run], found}}))
    end
  end
end
return refused
""".encode()

# KEYS: those of the positions and of what is put aside. ARGV: fields and values of positions.
_FINISH = f"""{_ONE_BEFORE}
local positions, aside = KEYS[1], KEYS[2]
local held = redis.call('HVALS', aside)
for i = 1, #held do
  if held[i] ~= '' then
    local key, field, found = unpack(cmsgpack.unpack(held[i]))
    if found then redis.call('HSET', key, field, found) else redis.call('HDEL', key, field) end
  end
end
if #held > 0 then return redis.call('UNLINK', aside) end
local moves = 1
{_MOVE}
return 0
""".encode()

_NOTHING = b"nothing."
"""Stands for the offset of a record that is not there; as an offset it is far beyond any that there are."""
_APPLIED = struct.Struct("<q")
_SENT_AT_ONCE = 500
"""How many records' commands are sent at once: the server takes them in while the next are packed."""


def portion(
    writes: Sequence[Write],
    positions: Mapping[SourcePartition, Position],
    held: Mapping[SourcePartition, int],
    expires: Callable[[Write], int | None],
) -> bytes:
    """The command that writes some records and then positions, or nothing.

    The answer is empty, or `behind`, a position's field and what it holds, or `stale`, a write's number (from 1) and the record found.

    Args:
        writes: The records.
        positions: How far source partitions have been read.
        held: What the store must have come to.
        expires: When a record may be forgotten, in ms UTC; None is never.
    """
    # The script's text goes with it: it is short beside the records, and a server that has forgotten it is no case then.
    keys = [write.key for write in writes]
    names, fields = names_of(keys), fields_of(keys)
    words = [
        b"*%d\r\n" % (7 + 5 * len(writes) + 2 * len(held) + 2 * len(positions)),
        *map(word, (b"EVAL", _PORTION, b"%d" % (len(writes) + 2))),
        *names,
        *map(word, (POSITIONS, META, b"%d" % len(writes), b"%d" % len(held))),
    ]
    for write in writes:
        expected = b"" if write.expected is None else _APPLIED.pack(write.expected)
        at = expires(write)
        words += (
            fields[write.key.partition],
            word(expected),
            word(write.record),
            word(b"" if at is None else b"%d" % at),
        )
    words += map(word, (*_checks(held), *_moves(positions)))
    return b"".join(words)


def transaction(
    writes: Sequence[Write], positions: Mapping[SourcePartition, Position], held: Mapping[SourcePartition, int]
) -> Iterator[tuple[bytes, int]]:
    """The commands that write records and then positions, or nothing, at one moment, in pieces, with the number of answers to each.

    The last answer is that of the transaction, whose answer at `CHECKED` is as a `portion` answers.

    Args:
        writes: The records.
        positions: How far source partitions have been read.
        held: What the store must have come to.
    """
    runs = [(b"%d" % at, b"%d" % len(list(run))) for at, run in groupby(write.key.partition for write in writes)]
    expected = b"".join([_NOTHING if write.expected is None else _APPLIED.pack(write.expected) for write in writes])
    arguments = [expected, b"%d" % len(runs), b"%d" % len(held), *(one for run in runs for one in run), *_checks(held)]
    keys = [write.key for write in writes]
    names, fields = names_of(keys), fields_of(keys)
    check = [
        b"*%d\r\n" % (5 + len(writes) + len(arguments)),
        *map(word, (b"EVAL", _CHECK, b"%d" % (len(writes) + 2))),
        *names,
        *map(word, (POSITIONS, _ASIDE, *arguments)),
    ]
    # What the scripts use is queued once beside them: a user who may not is told so before anything is written.
    allowed = [
        packed(b"UNLINK", _ASIDE),
        packed(b"HGET", _ASIDE, b"0"),
        packed(b"HVALS", _ASIDE),
        packed(b"HDEL", _ASIDE, b"0"),
    ]
    yield b"".join([packed(b"MULTI"), *allowed, *check]), 2 + len(allowed)
    for start in range(0, len(writes), _SENT_AT_ONCE):
        some = slice(start, start + _SENT_AT_ONCE)
        words = [
            (b"*4\r\n$4\r\nHSET\r\n", name, fields[at], b"$%d\r\n" % len(record), record, b"\r\n")
            for name, ((_, _, at), _, record) in zip(names[some], writes[some], strict=True)
        ]
        yield b"".join(chain.from_iterable(words)), len(words)
    yield packed(b"EVAL", _FINISH, b"2", POSITIONS, _ASIDE, *_moves(positions)) + packed(b"EXEC"), 2


def _checks(held: Mapping[SourcePartition, int]) -> Iterator[bytes]:
    for source, offset in held.items():
        yield source_field(source)
        yield b"%d" % offset


def _moves(positions: Mapping[SourcePartition, Position]) -> Iterator[bytes]:
    for source, position in positions.items():
        yield source_field(source)
        yield numbers(position.offset, position.record_ts_us, position.event_ts_us)
