"""Sizes that decide how the join works, never what it answers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Sizes that decide how the join works, never what it answers; tests set them so that little data takes every path.

    Attributes:
        pairs: About how many pairs of a row and an event are handled at a time.
        dense: From how many pairs per event on an entity's events are merged in blocks.
        settle_us: How long the frame of a window waits for late events, in µs; None chooses it from the delays.
        gather_settle_us: The same where events are gathered: events known within this time are merged in blocks.
        displaced: How many places an event of a frame may stand from its place in the order of offsets; None chooses it
            from the events.
        shard_events: About how many events a shard has: they are sorted and summed in the processor's cache, or not far
            from it.
        least_shard: How many events and rows are worth a shard of their own.
        packed: How many pairs of an entity and a time one integer holds.
        parts: In how many parts to compute a view from disk; None decides by the memory limit.
    """

    pairs: int = 1_000_000
    dense: int = 4
    settle_us: int | None = None
    gather_settle_us: int = 10_000_000
    displaced: int | None = None
    shard_events: int = 1_000_000
    least_shard: int = 50_000
    packed: int = 1 << 62
    parts: int | None = None
