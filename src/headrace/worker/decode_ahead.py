"""Decoding rounds ahead: while one is applied, the next ones become columns in a thread of their own, mostly outside the interpreter's lock.

Only rounds of plain models are decoded ahead. What an author's validators do, they do for a round when its turn has come.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from headrace.events.dead_letter import DeadLetter
from headrace.events.decode import EventDecoder
from headrace.events.event_batch import EventBatch
from headrace.events.raw_records import RawRecords
from headrace.worker.rounds import Fetch

__all__ = ["DecodedAhead"]

_Decoded = tuple[list[EventBatch], list[DeadLetter]]


@dataclass(frozen=True)
class _Round:
    fetches: list[Fetch]
    decoded: Future[_Decoded]


class DecodedAhead:
    """Decodes rounds, ahead where it was told of them in time.

    Args:
        decoders: A decoder per topic.
    """

    def __init__(self, decoders: Mapping[str, EventDecoder]) -> None:
        self._decoders = decoders
        self._rounds: dict[int, _Round] = {}
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "headrace-decoder")

    def begin(self, fetches: Sequence[Fetch]) -> None:
        """Begin to decode a round, after those begun before; returns at once.

        Args:
            fetches: The round, at least one fetch.
        """
        if all(self._decoders[fetch.source.topic].calls_no_user_code for fetch in fetches):
            given = list(fetches)
            with self._lock:
                self._rounds[given[0].round] = _Round(given, self._thread.submit(self._decode, given, None))

    def decoded(self, fetches: Sequence[Fetch], now_us: int | None) -> _Decoded:
        """A round's events and dead letters; again is the same again.

        Args:
            fetches: The round.
            now_us: The `known_at` to note for now, in µs; None takes each record's own timestamp.
        """
        number = fetches[0].round
        with self._lock:
            for before in [one for one in self._rounds if one < number]:
                del self._rounds[before]
            ahead = self._rounds.get(number)
        # A rebalance may have swallowed a part of a round.
        if ahead is None or [*map(id, ahead.fetches)] != [*map(id, fetches)]:
            return self._decode(fetches, now_us)
        batches, dead = ahead.decoded.result()
        return [_known(batch, now_us) for batch in batches], list(dead)

    def forget(self) -> None:
        """Forget the rounds begun: they come again."""
        with self._lock:
            rounds, self._rounds = self._rounds, {}
        for one in rounds.values():
            one.decoded.cancel()

    def _decode(self, fetches: Sequence[Fetch], now_us: int | None) -> _Decoded:
        by_topic: dict[str, list[RawRecords]] = {}
        for fetch in fetches:
            by_topic.setdefault(fetch.source.topic, []).append(fetch.records)
        batches: list[EventBatch] = []
        dead: list[DeadLetter] = []
        for topic, parts in by_topic.items():
            batch, letters = self._decoders[topic].decode(RawRecords.concat(parts), now_us)
            batches.append(batch)
            dead += letters
        return batches, dead


def _known(batch: EventBatch, now_us: int | None) -> EventBatch:
    """The batch, to be processed once: what is noted in it (values, `known_at`) is not found in it the next time."""
    known = batch.known_us if now_us is None else np.full(len(batch), now_us, np.int64)
    return replace(batch, known_us=known, _values={})
