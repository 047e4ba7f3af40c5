from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from headrace.errors import ConfigError
from headrace.produce import ReplayOptions, parse_time


@pytest.mark.parametrize(
    "values",
    [
        {"speed": 0},
        {"speed": -1},
        {"speed": float("inf")},
        {"speed": float("nan")},
        {"limit": -1},
        {"late": 2},
        {"late": -0.5},
        {"seed": -1},
        {"start": date(2013, 2, 1), "until": date(2013, 2, 1)},
    ],
)
def test_options_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--"):
        ReplayOptions(**values)


def test_dates_and_naive_times_are_utc() -> None:
    new_year_us = 1_356_998_400_000_000
    zoned = datetime(2013, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    for start in (date(2013, 1, 1), datetime(2013, 1, 1), zoned):  # noqa: DTZ001
        assert ReplayOptions(start=start).start_us == new_year_us
        assert ReplayOptions(until=start).until_us == new_year_us
    assert ReplayOptions().start_us is None


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2013-07-01", 0),
        ("2013-07-01T12:00", 12),
        ("2013-07-01 12:00:00", 12),
        ("2013-07-01T12:00Z", 12),
        ("2013-07-01T12:00-04:00", 16),
    ],
)
def test_times_are_read_as_utc_unless_they_say_otherwise(text: str, hour: int) -> None:
    assert parse_time(text) == datetime(2013, 7, 1, hour, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2013-13-01", "12:00"])
def test_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a date or time"):
        parse_time(text)
