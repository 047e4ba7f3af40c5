from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest

from headrace.errors import SpineError
from headrace.history.spine_rows import read_spine
from headrace.plan import Column, DType

USER = Column(name="user", dtype=DType.STRING)
ZONE = Column(name="zone", dtype=DType.INT64)
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
NOON_US = 1_357_041_600_000_000


def spine(**columns: Any) -> pa.Table:
    return pa.table({"event_timestamp": pa.array([NOON], pa.timestamp("us", "UTC")), "user": ["a"], **columns})


def times(array: pa.Array) -> list[int]:
    found: list[int] = read_spine(pa.table({"at": array}), [], "at").column("t_us").to_pylist()
    return found


def test_keys_and_times_are_read() -> None:
    found = read_spine(spine(zone=pa.array([3], pa.int16())), [USER, ZONE], "event_timestamp")
    assert found.to_pylist() == [{"t_us": NOON_US, "key(user)": "a", "key(zone)": 3}]
    assert found.schema.types == [pa.int64(), pa.string(), pa.int64()]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_any_unit_are_microseconds(unit: str) -> None:
    assert times(pa.array([NOON], pa.timestamp(unit, "UTC"))) == [NOON_US]


def test_timestamps_of_any_zone_are_utc() -> None:
    local = NOON.astimezone(timezone(timedelta(hours=-5)))
    assert times(pa.array([local], pa.timestamp("us", "America/New_York"))) == [NOON_US]


def test_nanoseconds_are_floored_also_before_1970() -> None:
    assert times(pa.array([1999, -1, -1000], pa.timestamp("ns", "UTC"))) == [1, -1, -1]


BORN = Column(name="born", dtype=DType.DATE)


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([date(1969, 12, 31)]),
        pa.array([date(1969, 12, 31)], pa.date64()),
        pa.array(["1969-12-31"]),
        pa.array(["1969-12-31"], pa.string_view()),
        pa.array(["1969-12-31"]).dictionary_encode(),
        pa.array([datetime(1969, 12, 31)], pa.timestamp("ns")),  # noqa: DTZ001
    ],
)
def test_dates_texts_of_them_and_midnights_are_keys(keys: pa.Array) -> None:
    found = read_spine(spine(born=keys), [BORN], "event_timestamp").column("key(born)")
    assert (found.type, found.to_pylist()) == (pa.date32(), [date(1969, 12, 31)])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (pa.array(["31.12.1969"]), "'born' has a value that date cannot hold"),
        (pa.array([datetime(1969, 12, 31, 1)]), "'born' has a value that date cannot hold: a time of day is no date"),  # noqa: DTZ001
        (pa.array([NOON]), "'born' is timestamp"),
        (pa.array([1]), "'born' is int64"),
    ],
)
def test_what_is_no_date_is_refused_as_a_key(keys: pa.Array, message: str) -> None:
    with pytest.raises(SpineError, match=message):
        read_spine(spine(born=keys), [BORN], "event_timestamp")


@pytest.mark.parametrize(
    "keys",
    [
        pa.array(["a"], pa.large_string()),
        pa.array(["a"], pa.string_view()),
        pa.array(["a"]).dictionary_encode(),
    ],
)
def test_strings_of_any_layout_are_keys(keys: pa.Array) -> None:
    table = pa.table({"at": pa.array([NOON], pa.timestamp("us", "UTC")), "user": keys})
    assert read_spine(table, [USER], "at").column("key(user)").to_pylist() == ["a"]


def test_missing_time_column_names_what_there_is() -> None:
    with pytest.raises(SpineError, match=r"has no column 'when', the time of each row. It has: event_timestamp, user"):
        read_spine(spine(), [USER], "when")


def test_missing_key_names_what_there_is() -> None:
    with pytest.raises(SpineError, match=r"has no column 'zone', a join key.* It has: event_timestamp, user"):
        read_spine(spine(), [USER, ZONE], "event_timestamp")


def test_column_given_twice_is_refused() -> None:
    with pytest.raises(SpineError, match="more than one column 'user'"):
        read_spine(spine().append_column("user", pa.array(["b"])), [USER], "event_timestamp")


def test_naive_times_are_refused_with_the_call_that_cures_them() -> None:
    with pytest.raises(SpineError, match=r"(?s)no time zone \(timestamp\[us\]\).*tz_localize\('UTC'\)"):
        times(pa.array([datetime(2013, 1, 1)], pa.timestamp("us")))  # noqa: DTZ001


@pytest.mark.parametrize("array", [pa.array(["2013-01-01"]), pa.array([NOON_US]), pa.array([NOON.date()])])
def test_times_that_are_no_timestamps_are_refused(array: pa.Array) -> None:
    with pytest.raises(SpineError, match="not a timestamp"):
        times(array)


def test_time_that_microseconds_cannot_hold_is_refused() -> None:
    with pytest.raises(SpineError, match="does not fit in 64 bits"):
        times(pa.array([2**60], pa.timestamp("s", "UTC")))


def test_null_time_is_refused_with_its_row() -> None:
    with pytest.raises(SpineError, match=r"'at' is null in row 1 \(2 in all\)"):
        times(pa.array([NOON, None, None], pa.timestamp("us", "UTC")))


def test_null_key_is_refused_with_its_row() -> None:
    table = pa.table({"at": pa.array([NOON] * 2, pa.timestamp("us", "UTC")), "user": ["a", None]})
    with pytest.raises(SpineError, match="'user' is null in row 1"):
        read_spine(table, [USER], "at")


@pytest.mark.parametrize("keys", [["1"], [1.0], [True]])
def test_key_of_another_type_is_refused(keys: list[Any]) -> None:
    with pytest.raises(SpineError, match="keyed by int64"):
        read_spine(spine(zone=keys), [ZONE], "event_timestamp")


def test_key_too_large_is_refused() -> None:
    with pytest.raises(SpineError, match="cannot hold"):
        read_spine(spine(zone=pa.array([2**63], pa.uint64())), [ZONE], "event_timestamp")
