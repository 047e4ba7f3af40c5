"""Catching up: what the log holds and the online store does not is applied to it, before the first fetch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from headrace.erasure import ErasureFilter
from headrace.errors import StaleWriteError
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.log import EventLog
from headrace.records.apply import Applier
from headrace.stores import OnlineStore, Position
from headrace.worker.log_rows import batch_of_rows

__all__ = ["catch_up", "catch_up_beside_others", "keep_now"]

logger = logging.getLogger(__name__)

_ATTEMPTS = 30


def catch_up_beside_others(
    store: OnlineStore,
    applier: Applier,
    logs: Mapping[str, EventLog],
    sizes: Mapping[str, int],
    erased: ErasureFilter,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Catch up, where other workers that start may be doing the same: a worker that is refused looks again at what is left.

    Args:
        store: The store, open to write.
        applier: What applies events to it.
        logs: The log of each topic.
        sizes: By topic, how many source partitions Kafka's partitions have had.
        erased: What keeps the events of erased entities out.
        on_step: Called for each batch that is applied.
    """
    for left in reversed(range(_ATTEMPTS)):
        try:
            catch_up(store, applier, logs, sizes, erased, on_step)
        except StaleWriteError:
            if not left:
                raise
            time.sleep(1)
        else:
            return


def catch_up(
    store: OnlineStore,
    applier: Applier,
    logs: Mapping[str, EventLog],
    sizes: Mapping[str, int],
    erased: ErasureFilter,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Apply what the log holds and the store does not: all of it where the store is new, nothing as a rule.

    Args:
        store: The store, open to write.
        applier: What applies events to it.
        logs: The log of each topic.
        sizes: By topic, how many source partitions Kafka's partitions have had.
        erased: What keeps the events of erased entities out.
        on_step: Called for each batch that is applied.
    """
    for topic, log in logs.items():
        # The log first: what other workers log meanwhile they have applied, and the store is not behind for it.
        ends = log.last_offsets([*range(sizes[topic]), *log.imports()])
        at = {source.partition: position for source, position in store.positions().items() if source.topic == topic}
        behind = {
            partition: last for partition, last in ends.items() if partition not in at or at[partition].offset < last
        }
        if not behind:
            continue
        logger.warning("The online store is behind the log of %r; applying it from there.", topic)
        after = {partition: position.offset for partition, position in at.items()}
        applied = 0
        for rows in log.scan(after):
            batch = batch_of_rows(log.source, rows)
            moved = _positions_of(topic, batch, at)
            (kept,) = erased.kept([batch])  # an erasure that was cut short may have left some in the log
            applier.apply([kept], moved)
            applied += len(kept)
            on_step()
        stands_for = {
            SourcePartition(topic, partition): Position(
                last,
                at[partition].record_ts_us if partition in at else 0,
                at[partition].event_ts_us if partition in at else 0,
            )
            for partition, last in behind.items()
        }
        applier.apply([], stands_for)  # the log may stand for dead letters past its last row
        logger.warning("Applied %d events of %r from the log.", applied, topic)


def keep_now(store: OnlineStore, before: Mapping[SourcePartition, Position]) -> None:
    """Under the record clock the newest record is now, whosever it was: filled anew, a store's time does not go back.

    Args:
        store: The store.
        before: Its positions before it was cleared.
    """
    newest = {
        at: Position(found.offset, max(found.record_ts_us, before[at].record_ts_us), found.event_ts_us)
        for at, found in store.positions().items()
        if at in before
    }
    store.commit([], newest)


def _positions_of(topic: str, batch: EventBatch, at: dict[int, Position]) -> dict[SourcePartition, Position]:
    """How far `batch` brings each partition; `at` is brought up to date with it."""
    moved: dict[SourcePartition, Position] = {}
    for partition in set(batch.partition.tolist()):
        mine = batch.partition == partition
        before = at.get(partition)
        record, event = int(batch.record_ts_us[mine].max()), int(batch.ts_us[mine].max())
        at[partition] = Position(
            int(batch.offset[mine].max()),
            max(record, before.record_ts_us) if before else record,
            max(event, before.event_ts_us) if before else event,
        )
        moved[SourcePartition(topic, partition)] = at[partition]
    return moved
