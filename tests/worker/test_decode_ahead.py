"""A round that was decoded ahead is the round that would have been decoded in its turn."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pydantic import AwareDatetime, field_validator

from headrace.events.decode import EventDecoder
from headrace.events.raw_records import RawRecords
from headrace.worker.decode_ahead import RoundDecoder
from headrace.worker.rounds import Round
from tests.worker.shop import SOURCE, Sale, one_round, raw, record


class Heard(EventDecoder):
    """A decoder that takes down which thread it is called in."""

    def __init__(self, model: type[Sale] = Sale) -> None:
        super().__init__(SOURCE, model)
        self.threads: list[str] = []

    def decode(self, records: RawRecords, known_us: int | None = None) -> Any:
        """As the worker's."""
        self.threads.append(threading.current_thread().name)
        return super().decode(records, known_us)


class Checked(Sale):
    """With a function of its author's."""

    @field_validator("sold_at")
    @classmethod
    def _any(cls, sold_at: AwareDatetime) -> AwareDatetime:
        return sold_at


def numbered(number: int, events: int = 20) -> Round:
    records = [
        record(offset, f"s{offset}", offset, partition=offset % 2)
        for offset in range(number * 100, number * 100 + events)
    ]
    return one_round(*records, raw(number * 100 + events, b"{}"))


def offsets(found: Any) -> tuple[list[int], list[int]]:
    batches, dead = found
    return [offset for batch in batches for offset in batch.offset.tolist()], [letter.offset for letter in dead]


def ahead_of(decoder: EventDecoder) -> RoundDecoder:
    return RoundDecoder({"sales": decoder})


def test_rounds_begun_are_decoded_once_elsewhere_and_are_the_same() -> None:
    decoder = Heard()
    ahead, rounds = ahead_of(decoder), [numbered(1), numbered(2), numbered(3)]
    for one in rounds:
        ahead.begin(one)
    found = [offsets(ahead.decoded(one, None)) for one in rounds]
    assert len(decoder.threads) == 3
    assert not any(name == threading.current_thread().name for name in decoder.threads)
    assert found == [offsets(ahead_of(EventDecoder(SOURCE, Sale)).decoded(one, None)) for one in rounds]


def test_round_that_is_tried_again_has_the_time_of_the_try_and_nothing_of_the_one_before() -> None:
    decoder = Heard()
    ahead, one = ahead_of(decoder), numbered(1)
    ahead.begin(one)
    (first,), _ = ahead.decoded(one, 5)
    first.known_us[:] = 99
    first.values("price")
    (second,), _ = ahead.decoded(one, 7)
    assert set(second.known_us.tolist()) == {7}
    assert second.table.equals(first.table)
    (third,), _ = ahead.decoded(one, None)
    assert third.known_us.tolist() == third.record_ts_us.tolist()
    assert len(decoder.threads) == 1


def test_functions_of_an_author_are_called_in_the_rounds_turn() -> None:
    decoder = Heard(Checked)
    ahead, one = ahead_of(decoder), numbered(1)
    ahead.begin(one)
    assert decoder.threads == []
    ahead.decoded(one, None)
    assert decoder.threads == [threading.current_thread().name]


def test_what_decoding_ahead_raises_is_raised_in_the_rounds_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Heard()
    monkeypatch.setattr(decoder, "decode", lambda *_: 1 / 0)
    ahead, one = ahead_of(decoder), numbered(1)
    ahead.begin(one)
    with pytest.raises(ZeroDivisionError):
        ahead.decoded(one, None)
