"""The two refusals that every adapter makes: a write made from an old record, and a store that has lost writes."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from headrace.errors import StaleWriteError, StoreBehindError
from headrace.events.source_partition import SourcePartition
from headrace.stores.base import Write

__all__ = ["refuse_any_stale", "refuse_behind", "refuse_stale"]

_EXPECTED = attrgetter("expected")


def refuse_behind(source: SourcePartition, required: int, applied: int | None) -> None:
    """Raise StoreBehindError unless a source partition has been applied as far as is required."""
    if applied is None or applied < required:
        state = "nothing" if applied is None else f"offset {applied}"
        msg = (
            f"The online store has lost writes: {source.topic}-{source.partition} had been applied up to offset "
            f"{required}, and it holds {state}."
        )
        hint = (
            "Start the worker again: it applies what is missing from the log. (Redis: see appendonly and appendfsync.)"
        )
        raise StoreBehindError(msg, hint=hint)


def refuse_any_stale(writes: Sequence[Write], applied: Sequence[int | None]) -> None:
    """Raise StaleWriteError unless each write was made from the record that is there.

    Args:
        writes: The writes.
        applied: For each, the applied offset of the record that is there; None where there is none.
    """
    if list(map(_EXPECTED, writes)) != list(applied):
        for write, found in zip(writes, applied, strict=True):
            refuse_stale(write, found)


def refuse_stale(write: Write, applied: int | None) -> None:
    """Raise StaleWriteError unless the write was made from the record with this applied offset."""
    if applied != write.expected:
        msg = (
            f"The record of {write.key.entity.decode('utf-8', 'replace')} for source partition "
            f"{write.key.source.partition} of {write.key.source.topic} has applied offset {applied}, not "
            f"{write.expected}: another worker owns the partition. The write was refused."
        )
        raise StaleWriteError(msg)
