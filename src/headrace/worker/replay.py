"""Replaying the log: applying again what the log has and a store, or a version of a view, lacks.

There is no other way back from the log.

A worker that starts, a store that is filled again, an import, and a view's new version all read the log by `chunks`. A
replay that was cut short continues from the offsets that the store has applied by then; a record
skips what it has applied.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from headrace.erasure import ErasureFilter
from headrace.errors import StaleWriteError
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.log import EventLog
from headrace.records.applier import Applier
from headrace.stores import OnlineStore, Position
from headrace.worker.log_rows import batch_of_rows

__all__ = ["Chunk", "chunks", "keep_now", "replay", "replay_beside_others"]

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 65_536
_ATTEMPTS = 30


class Chunk(NamedTuple):
    """Events of one source partition, in offset order.

    Attributes:
        source: The source partition.
        batch: The events, without those of erased entities: an erasure that was cut short may have left some in the
            log.
        reached: The last offset and the newest times of all its rows, erased ones too.
    """

    source: SourcePartition
    batch: EventBatch
    reached: Position


def chunks(
    log: EventLog,
    erased: ErasureFilter,
    after: Mapping[int, int],
    partitions: Iterable[int] | None = None,
    chunk_rows: int = _CHUNK_ROWS,
) -> Iterator[Chunk]:
    """What a log holds after given offsets.

    Args:
        log: The log.
        erased: What keeps the events of erased entities out.
        after: By source partition, the offset to start after; partitions left out start at their beginning.
        partitions: The source partitions to read; None is all of them.
        chunk_rows: The size that chunks come near to.

    Raises:
        LogError: A file is missing or cannot be read.
        LogUnavailableError: The log was rewritten meanwhile; reading again works.
    """
    for rows in log.scan(after, partitions=partitions, batch_rows=chunk_rows):
        batch = batch_of_rows(log.source, rows)
        (kept,) = erased.kept([batch])
        reached = Position(int(batch.offset[-1]), int(batch.record_ts_us.max()), int(batch.ts_us.max()))
        yield Chunk(SourcePartition(log.source.topic, int(batch.partition[0])), kept, reached)


def replay(
    store: OnlineStore,
    applier: Applier,
    logs: Iterable[EventLog],
    partitions: Callable[[EventLog], Iterable[int]],
    erased: ErasureFilter,
    on_step: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = logger.warning,
) -> int:
    """Apply what logs hold and a store does not: all of it where the store is new, nothing as a rule.

    Args:
        store: The store, open to write.
        applier: What applies events to it.
        logs: The logs.
        partitions: The source partitions of a log that are replayed.
        erased: What keeps the events of erased entities out.
        on_step: Called for each chunk that was applied.
        say: Takes what is done, for people.

    Returns:
        How many events were applied.

    Raises:
        LogError: A log cannot be read.
        StoreUnavailableError, StaleWriteError: Not all of it was applied; replaying again applies the rest.
    """
    applied = 0
    for log in logs:
        topic = log.source.topic
        # The log is read first: what other workers log meanwhile, they have applied before.
        ends = log.last_offsets(partitions(log))
        positions = {at.partition: position for at, position in store.positions().items() if at.topic == topic}
        behind = {one: end for one, end in ends.items() if one not in positions or positions[one].offset < end}
        if not behind:
            continue
        say(f"The online store is behind the log of {topic!r}; applying it from there.")
        after = {one: positions[one].offset for one in behind if one in positions}
        before = applied
        for chunk in chunks(log, erased, after, sorted(behind)):
            number = chunk.source.partition
            positions[number] = _later(positions.get(number), chunk.reached)
            applier.apply([chunk.batch], {chunk.source: positions[number]})
            applied += len(chunk.batch)
            on_step()
        # The log may account for offsets after its last row: dead letters, and repetitions that an import left out.
        stands_for = {
            SourcePartition(topic, one): _later(positions.get(one), replace(positions.get(one, _NOTHING), offset=end))
            for one, end in behind.items()
        }
        applier.apply([], stands_for)
        say(f"Applied {applied - before} events of {topic!r} from the log.")
    return applied


def replay_beside_others(replaying: Callable[[], object], wait: Callable[[float], None] = time.sleep) -> None:
    """Replay beside other workers that start: a worker that is refused looks again at what is left.

    Args:
        replaying: Replays.
        wait: Waits for the given number of seconds.
    """
    for left in reversed(range(_ATTEMPTS)):
        try:
            replaying()
        except StaleWriteError:
            if not left:
                raise
            wait(1)
        else:
            return


def keep_now(store: OnlineStore, before: Mapping[SourcePartition, Position]) -> None:
    """Keep the time of the record clock, which is the newest record, in a store that was filled again.

    Args:
        store: The store.
        before: Its positions before it was cleared.
    """
    newest = {
        at: replace(found, record_ts_us=max(found.record_ts_us, before[at].record_ts_us))
        for at, found in store.positions().items()
        if at in before
    }
    store.commit([], newest)


_NOTHING = Position(-1, 0, 0)


def _later(before: Position | None, reached: Position) -> Position:
    """A position moved to another one; no offset and no time goes back."""
    if before is None:
        return reached
    return Position(
        max(before.offset, reached.offset),
        max(before.record_ts_us, reached.record_ts_us),
        max(before.event_ts_us, reached.event_ts_us),
    )
