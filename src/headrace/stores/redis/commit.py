"""Writing on a Redis server, as commands: either one script, or a transaction of a script, plain commands and a script.

**A script** (`chunk_command`) checks and writes a few records. A commit that need not be at one moment is several of
them.

**A transaction** (`transaction`) writes any number of records at one moment. Lua copies every value that it touches and
hashes every byte of it, so a record that goes through Lua costs the server more than the rest of its write. Here the
new records are plain HSETs, and a script before them does the checks. A MULTI cannot be stopped half-way: where a check
fails, that script saves what the store has, and another script, after the HSETs, restores it. Nobody sees the state in
between. A transaction sets no times to expire; a store may keep records longer than asked.

Offsets are compared as bytes, or as digits, because Lua's numbers are exact to 2^53 only. Arguments are read one by one
and never unpacked: Lua can unpack only some thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby

from headrace.events.source_partition import SourcePartition
from headrace.stores.base import Position, Write
from headrace.stores.redis.protocol import APPLIED, fields_of, names_of, numbers, packed, source_field, word

__all__ = ["CHECKED", "META", "POSITIONS", "chunk_command", "transaction"]

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

# KEYS: the hash of each write, then that of the positions. ARGV: the numbers of writes and of checks; per write its
# field, the expected applied offset (eight bytes, or none), the value, and when it expires in ms (empty: never); per
# check the field of a position and its least offset; then fields and values of positions.
_CHUNK = f"""{_ONE_BEFORE}
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
  if found then applied = string.sub(found, 1, {APPLIED.size}) end
  if applied ~= ARGV[4 * i] then return {{'stale', i, found}} end
end
for i = 1, writes do
  local key, expires = KEYS[i], ARGV[4 * i + 2]
  local is_new = redis.call('HSET', key, ARGV[4 * i - 1], ARGV[4 * i + 1])
  if expires ~= '' then
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

# KEYS: the hash of each write, then those of the positions and of what is saved. ARGV: the expected applied offsets
# (eight bytes each), the numbers of runs and of checks; per run of writes with the same field that field and how many
# they are; per check the field of a position and its least offset.
#
# UNLINK comes first although it changes nothing: a script that has written cannot be killed, and the commands after
# this script must not run unchecked.
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
      if found then applied = string.sub(found, 1, {APPLIED.size}) end
      if applied ~= string.sub(expected, 8 * i - 7, 8 * i) then return {{'stale', i, found}} end
    end
  end
end
-- Any error while checking is a refusal: the commands after this script are run in any case.
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

# KEYS: the hashes of the positions and of what is saved. ARGV: fields and values of positions.
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
"""Stands for the offset of a record that is not there; as an offset it is larger than any."""
_SENT_AT_ONCE = 500
"""How many records' commands are sent at once: the server reads them while the next ones are packed."""


def chunk_command(
    writes: Sequence[Write], positions: Mapping[SourcePartition, Position], required: Mapping[SourcePartition, int]
) -> bytes:
    """The command that writes some records and then positions, or nothing.

    The answer is empty; or `behind`, the field of a position and its value; or `stale`, the number of a write (from 1)
    and the value found.

    Args:
        writes: The records.
        positions: How far source partitions have been read.
        required: What the store must have applied.
    """
    # The script's text is sent each time: it is short beside the records, and no server can have forgotten it.
    keys = [write.key for write in writes]
    names, fields = names_of(keys), fields_of(keys)
    words = [
        b"*%d\r\n" % (6 + 5 * len(writes) + 2 * len(required) + 2 * len(positions)),
        *map(word, (b"EVAL", _CHUNK, b"%d" % (len(writes) + 1))),
        *names,
        *map(word, (POSITIONS, b"%d" % len(writes), b"%d" % len(required))),
    ]
    for key, expected, applied, record, expires_us in writes:
        words += (
            fields[key.source],
            word(b"" if expected is None else APPLIED.pack(expected)),
            _value_word(applied, record),
            word(b"" if expires_us is None else b"%d" % (expires_us // 1000 + 1)),
        )
    words += map(word, (*_checks(required), *_moves(positions)))
    return b"".join(words)


def transaction(
    writes: Sequence[Write], positions: Mapping[SourcePartition, Position], required: Mapping[SourcePartition, int]
) -> Iterator[tuple[bytes, int]]:
    """The commands that write records and then positions, or nothing, at one moment.

    They come in pieces, each with its number of answers.
    The last answer is that of the transaction; its answer at `CHECKED` is one as `chunk_command` has.

    Args:
        writes: The records.
        positions: How far source partitions have been read.
        required: What the store must have applied.
    """
    runs = [(source_field(at), b"%d" % len(list(run))) for at, run in groupby(write.key.source for write in writes)]
    expected = b"".join([_NOTHING if write.expected is None else APPLIED.pack(write.expected) for write in writes])
    arguments = [
        expected,
        b"%d" % len(runs),
        b"%d" % len(required),
        *(one for run in runs for one in run),
        *_checks(required),
    ]
    keys = [write.key for write in writes]
    names, fields = names_of(keys), fields_of(keys)
    check = [
        b"*%d\r\n" % (5 + len(writes) + len(arguments)),
        *map(word, (b"EVAL", _CHECK, b"%d" % (len(writes) + 2))),
        *names,
        *map(word, (POSITIONS, _ASIDE, *arguments)),
    ]
    # The scripts' commands are also queued by themselves: so a user who may not run one is refused before any write.
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
            (b"*4\r\n$4\r\nHSET\r\n", name, fields[key.source], _value_word(applied, record))
            for name, (key, _, applied, record, _) in zip(names[some], writes[some], strict=True)
        ]
        yield b"".join(chain.from_iterable(words)), len(words)
    yield packed(b"EVAL", _FINISH, b"2", POSITIONS, _ASIDE, *_moves(positions)) + packed(b"EXEC"), 2


def _value_word(applied: int, record: bytes) -> bytes:
    return b"$%d\r\n%b%b\r\n" % (APPLIED.size + len(record), APPLIED.pack(applied), record)


def _checks(required: Mapping[SourcePartition, int]) -> Iterator[bytes]:
    for source, offset in required.items():
        yield source_field(source)
        yield b"%d" % offset


def _moves(positions: Mapping[SourcePartition, Position]) -> Iterator[bytes]:
    for source, position in positions.items():
        yield source_field(source)
        yield numbers(position.offset, position.record_ts_us, position.event_ts_us)
