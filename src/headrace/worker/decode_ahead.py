"""Decoding rounds ahead: while one round is applied, another thread decodes the next ones.

That thread mostly runs outside the interpreter's lock.

Only rounds of plain models are decoded ahead. An author's validators run when the round's turn has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from headrace.events.dead_letter import DeadLetter
from headrace.events.decode import EventDecoder
from headrace.events.event_batch import EventBatch
from headrace.worker.rounds import Decoded, Round

__all__ = ["RoundDecoder"]


class RoundDecoder:
    """Decodes rounds, ahead of their turn where they are known by then.

    Args:
        decoders: A decoder per topic.
    """

    def __init__(self, decoders: Mapping[str, EventDecoder]) -> None:
        self._decoders = decoders
        self._thread = ThreadPoolExecutor(1, "headrace-decoder")

    def begin(self, round_: Round) -> None:
        """Begin to decode a round, after those begun before; returns at once."""
        if all(self._decoders[source.topic].calls_no_user_code for source in round_.reads):
            round_.decoded = self._thread.submit(self._decode, round_, None)

    def decoded(self, round_: Round, now_us: int | None) -> Decoded:
        """A round's events and dead letters. A round that is tried again can be decoded again.

        Args:
            round_: The round.
            now_us: The `known_at` to note for now, in µs; None takes each record's own timestamp.
        """
        if round_.decoded is None:
            return self._decode(round_, now_us)
        batches, dead = round_.decoded.result()
        return [_known(batch, now_us) for batch in batches], list(dead)

    def _decode(self, round_: Round, now_us: int | None) -> Decoded:
        batches: list[EventBatch] = []
        dead: list[DeadLetter] = []
        for topic, records in round_.by_topic().items():
            batch, letters = self._decoders[topic].decode(records, now_us)
            batches.append(batch)
            dead += letters
        return batches, dead


def _known(batch: EventBatch, now_us: int | None) -> EventBatch:
    """The batch, to be processed once: what is noted in it (values, `known_at`) must not be in it the next time."""
    known = batch.known_us if now_us is None else np.full(len(batch), now_us, np.int64)
    return replace(batch, known_us=known, _values={})
