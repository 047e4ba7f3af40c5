"""A round that was decoded ahead is the round that would have been decoded in its turn."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pydantic import AwareDatetime, field_validator

from headrace.events.decode import EventDecoder
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.worker.decode_ahead import DecodedAhead
from headrace.worker.rounds import Fetch
from tests.worker.shop import SOURCE, Sale, fetches, raw, record


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


def round_(number: int, events: int = 20) -> list[Fetch]:
    records = [
        record(offset, f"s{offset}", offset, partition=offset % 2)
        for offset in range(number * 100, number * 100 + events)
    ]
    return fetches(*records, raw(number * 100 + events, b"{}"), round_=number)


def offsets(found: Any) -> tuple[list[int], list[int]]:
    batches, dead = found
    return [offset for batch in batches for offset in batch.offset.tolist()], [letter.offset for letter in dead]


def ahead_of(decoder: EventDecoder) -> DecodedAhead:
    return DecodedAhead({"sales": decoder})


def test_rounds_begun_are_decoded_once_elsewhere_and_are_the_same() -> None:
    decoder = Heard()
    ahead, rounds = ahead_of(decoder), [round_(1), round_(2), round_(3)]
    for fetched in rounds:
        ahead.begin(fetched)
    found = [offsets(ahead.decoded(fetched, None)) for fetched in rounds]
    assert len(decoder.threads) == 3
    assert not any(name == threading.current_thread().name for name in decoder.threads)
    assert found == [offsets(ahead_of(EventDecoder(SOURCE, Sale)).decoded(fetched, None)) for fetched in rounds]


def test_round_that_is_tried_again_has_the_time_of_the_try_and_nothing_of_the_one_before() -> None:
    decoder = Heard()
    ahead, fetched = ahead_of(decoder), round_(1)
    ahead.begin(fetched)
    (first,), _ = ahead.decoded(fetched, 5)
    first.known_us[:] = 99
    first.values("price")
    (second,), _ = ahead.decoded(fetched, 7)
    assert set(second.known_us.tolist()) == {7}
    assert second.table.equals(first.table)
    (third,), _ = ahead.decoded(fetched, None)
    assert third.known_us.tolist() == third.record_ts_us.tolist()
    assert len(decoder.threads) == 1


def test_part_of_a_round_is_decoded_as_that_part() -> None:
    ahead, whole = ahead_of(Heard()), round_(1)
    ahead.begin(whole)
    part = whole[:1]
    assert set(offsets(ahead.decoded(part, None))[0]) < set(whole[0].records.offsets.tolist()) | {-1}
    again = [Fetch(SourcePartition("sales", 0), one.records, 1, ends_round=True) for one in whole[:1]]
    assert offsets(ahead.decoded(again, None)) == offsets(ahead.decoded(part, None))


def test_rounds_that_were_passed_over_and_forgotten_are_not_kept() -> None:
    decoder = Heard()
    ahead, rounds = ahead_of(decoder), [round_(number) for number in (1, 2, 3)]
    for fetched in rounds:
        ahead.begin(fetched)
    ahead.decoded(rounds[2], None)
    assert list(ahead._rounds) == [3]  # noqa: SLF001 memory has no other face
    ahead.forget()
    assert offsets(ahead.decoded(rounds[2], None))[1] == [320]
    assert decoder.threads[-1] == threading.current_thread().name


def test_functions_of_an_author_are_called_in_the_rounds_turn() -> None:
    decoder = Heard(Checked)
    ahead, fetched = ahead_of(decoder), round_(1)
    ahead.begin(fetched)
    assert decoder.threads == []
    ahead.decoded(fetched, None)
    assert decoder.threads == [threading.current_thread().name]


def test_what_decoding_ahead_raises_is_raised_in_the_rounds_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Heard()
    monkeypatch.setattr(decoder, "decode", lambda *_: 1 / 0)
    ahead, fetched = ahead_of(decoder), round_(1)
    ahead.begin(fetched)
    with pytest.raises(ZeroDivisionError):
        ahead.decoded(fetched, None)
