"""Conversions between datetimes and microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from headrace.times import us_of


def test_microseconds_are_exact_before_1970_and_in_other_zones() -> None:
    assert us_of(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1
    assert us_of(datetime(2013, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 1_356_998_400_000_000
    assert us_of(datetime.max.replace(tzinfo=UTC)) == 253_402_300_799_999_999
