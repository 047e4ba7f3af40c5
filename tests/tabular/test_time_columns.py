"""Times as databases write them: read where they mean one thing, said why not else."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from headrace.tabular.time_columns import TimeReader

TEN = datetime(2026, 1, 5, 10, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def read(values: list[Any] | pa.Array, zone: Any = None, unit: str | None = None) -> tuple[list[Any], dict[int, str]]:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    found, why = TimeReader(zone, unit).read(pa.chunked_array([array]))
    moments = [
        datetime.fromisoformat(one) if isinstance(one, str) and (one.endswith("Z") or one[-6:-5] in ("+", "-")) else one
        for one in found
    ]
    return moments, why


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-05T10:00:00Z",
        "2026-01-05 10:00:00+00",
        "2026-01-05 10:00:00.000 +0000",
        "2026-01-05 10:00:00 UTC",
        "2026-01-05 10:00 GMT",
        "2026/01/05 10:00:00,000000000Z",
        " 2026-01-05T12:00:00+02 ",
        "2026-01-05 04:30:00-05:30",
        "2026-01-05 10:00:30+00:00:30",
    ],
)
def test_time_with_a_zone_is_that_moment(text: str) -> None:
    assert read([text, None]) == ([TEN, None], {})


def test_fraction_is_cut_to_microseconds() -> None:
    assert read(["2026-01-05 10:00:00.123456789+00"])[0] == [TEN.replace(microsecond=123456)]


@pytest.mark.parametrize("text", ["2026-01-05 11:00:00", "2026-01-05T11:00", "2026/01/05 11:00:00.0"])
def test_time_without_a_zone_is_read_in_the_one_said_and_else_left_to_the_model(text: str) -> None:
    assert read([text], BERLIN)[0] == [TEN]
    assert read([text])[0] == [text]


def test_dates_are_midnight_in_the_zone_said() -> None:
    for values in (["2026-01-05"], pa.array([date(2026, 1, 5)])):
        assert read(values, UTC)[0] == [datetime(2026, 1, 5, tzinfo=UTC)]


def test_hour_that_a_zone_has_twice_or_never_is_no_time() -> None:
    naive = [datetime(2026, 10, 25, 2, 30), datetime(2026, 3, 29, 2, 30), datetime(2026, 3, 29, 4, 30)]  # noqa: DTZ001
    for values in (pa.array(naive, pa.timestamp("us")), [one.isoformat(" ") for one in naive]):
        found, why = read(values, BERLIN)
        assert "show twice" in why[0]
        assert "skip" in why[1]
        assert found[2] == datetime(2026, 3, 29, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_timestamps_of_any_unit(unit: str, zone: str | None) -> None:
    naive = TEN.replace(tzinfo=None)
    array = pa.array([TEN if zone else naive, None], pa.timestamp(unit, zone))
    assert read(array, UTC) == ([TEN, None], {})
    if zone is None:
        assert read(array) == ([naive, None], {})


def test_nanoseconds_before_1970_are_floored() -> None:
    array = pa.array([-1], pa.timestamp("ns", "UTC"))
    assert read(array)[0] == [datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]


def test_infinity_of_a_database_is_no_time() -> None:
    found, why = read(pa.array([2**63 - 1, 0, -(2**63) + 1], pa.timestamp("us", "UTC")))
    assert found == [None, datetime(1970, 1, 1, tzinfo=UTC), None]
    assert sorted(why) == [0, 2]
    assert "no time on the calendar" in why[0]


@pytest.mark.parametrize(
    ("unit", "number"),
    [("s", 1767607200), ("ms", 1767607200000), ("us", 1767607200000000), ("ns", 1767607200000000000)],
)
def test_numbers_are_read_in_the_unit_said(unit: str, number: int) -> None:
    for values in ([number], [str(number)], [float(number)], [Decimal(number)]):
        assert read(values, unit=unit) == ([TEN], {})


def test_numbers_are_left_to_the_model_where_no_unit_is_said() -> None:
    assert read([1767607200, None]) == ([1767607200, None], {})
    assert read(["1767607200123"]) == (["1767607200123"], {})


def test_day_written_as_a_number_is_not_taken_for_seconds() -> None:
    for values in (["20260105"], [20260105]):
        assert "YYYYMMDD" in read(values)[1][0]
    assert read([20260105], unit="s")[0] == [datetime(1970, 8, 23, 11, 48, 25, tzinfo=UTC)]


@pytest.mark.parametrize("text", ["05-JAN-26 10.00.00 AM", "01/05/2026 10:00", "now", ""])
def test_what_is_written_otherwise_is_left_to_the_model(text: str) -> None:
    assert read([text], UTC) == ([text], {})


def test_day_that_is_not_on_the_calendar_is_no_time() -> None:
    assert "day is out of range" in read(["2026-02-30 10:00:00Z "])[1][0]
