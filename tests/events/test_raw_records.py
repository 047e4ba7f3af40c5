"""Records by column: runs and chosen rows keep what belongs together, headers too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.events.raw_records import Headers, RawRecords


@dataclass
class Plain:
    """A record as a test or a client has it."""

    offset: int
    partition: int = 1
    timestamp: int = 5
    key: bytes | None = None
    value: bytes | None = b"v"


@dataclass
class WithHeaders(Plain):
    """The same with headers."""

    headers: Headers = ()


def rows(records: RawRecords) -> list[tuple[int, Headers]]:
    headers: list[Headers] = [()] * len(records) if records.headers is None else records.headers
    return list(zip(records.offsets.tolist(), headers, strict=True))


TRACE = (("trace", b"1"),)


def test_headers_are_none_where_no_record_has_any() -> None:
    assert RawRecords.of([Plain(0), WithHeaders(1)]).headers is None
    assert RawRecords.of([]).headers is None
    assert RawRecords.concat([RawRecords.of([Plain(0)]), RawRecords.of([Plain(1)])]).headers is None


def test_headers_stay_with_their_records() -> None:
    first = RawRecords.of([Plain(0), WithHeaders(1, headers=TRACE)])
    second = RawRecords.of([Plain(2), Plain(3)])
    both = RawRecords.concat([second, first, RawRecords.of([])])
    assert rows(both) == [(2, ()), (3, ()), (0, ()), (1, TRACE)]
    assert rows(both[2:]) == [(0, ()), (1, TRACE)]
    assert rows(both.take([3, 0])) == [(1, TRACE), (2, ())]
    assert rows(second[:1]) == [(2, ())]


def test_records_without_headers_are_made_as_before() -> None:
    here = np.array([4], np.int64)
    records = RawRecords(here, here, here, [b"k"], [None])
    assert rows(records) == [(4, ())]
