"""What a worker has done, for its progress line and its closing summary."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from headrace.events.source_partition import SourcePartition
from headrace.times import iso_time
from headrace.worker.pipeline import RoundSummary

__all__ = ["WorkerStats"]


_MOST_MARKS = 2_000


class WorkerStats:
    """Counts of a run.

    Args:
        monotonic: A clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._begun: float | None = None
        self._marks: list[tuple[float, int]] = []
        self.events = 0
        self.dead_letters = 0
        self.rounds = 0
        self.refused = 0
        self.newest_record_us: int | None = None
        self.next_offsets: dict[SourcePartition, int] = {}
        self.transform_failures: dict[str, dict[str, Any]] = {}

    def begin_round(self) -> None:
        """A round has been fetched; the first one starts the clock."""
        if self._begun is None:
            self._begun = self._monotonic()

    def end_round(self, summary: RoundSummary, next_offsets: dict[SourcePartition, int]) -> None:
        """A round has become readable online."""
        self.events += summary.events
        self.dead_letters += summary.dead
        self.rounds += 1
        self.transform_failures = summary.failures
        self.newest_record_us = max(summary.newest_record_us, self.newest_record_us or summary.newest_record_us)
        self.next_offsets.update(next_offsets)
        self._mark()

    def refuse_round(self) -> None:
        """A round was refused: another worker has the partition now."""
        self.refused += 1

    def end_flush(self) -> None:
        """The log and the store hold everything applied."""
        self._mark()

    def _mark(self) -> None:
        if self._begun is not None:
            self._marks.append((self._monotonic() - self._begun, self.events))
            if len(self._marks) > _MOST_MARKS:
                del self._marks[1:-1:2]  # a worker may run for months

    @property
    def seconds(self) -> float:
        """From the first fetch to the newest round or flush."""
        return self._marks[-1][0] if self._marks else 0.0

    @property
    def events_per_second(self) -> float:
        """The mean rate of the run."""
        return self.events / self.seconds if self.seconds else 0.0

    def rates(self, parts: int = 4) -> list[float]:
        """The rate over each of `parts` equal shares of the events: whether the run slows down as it goes.

        A round's events count as spread evenly over its time. (Shares that end with a round would not be equal: after a
        large round, little is left for the last one, which would look slow.)
        """
        reached = {0: 0.0}
        for at, count in self._marks:
            reached.setdefault(count, at)
        share = self.events / parts
        edges = np.interp([share * part for part in range(parts + 1)], list(reached), list(reached.values()))
        return [share / (until - since) for since, until in pairwise(edges.tolist()) if until > since]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready summary."""
        return {
            "events": self.events,
            "dead_letters": self.dead_letters,
            "rounds": self.rounds,
            "refused_writes": self.refused,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events_per_second),
            "events_per_second_by_quarter": [round(rate) for rate in self.rates()],
            "newest_record": iso_time(self.newest_record_us),
            "transform_failures": self.transform_failures,
        }
