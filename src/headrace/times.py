"""Times are int64 microseconds UTC inside, and datetimes with a zone outside.

Dates are days since 1970-01-01 inside.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

__all__ = ["CALENDAR_DAYS", "CALENDAR_US", "OFF_CALENDAR", "as_stored", "date_of", "datetime_of", "iso_time", "us_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
CALENDAR_US = (
    (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND,
    (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND,
)
"""The first and the last time of Python's calendar, in µs."""

_FIRST_DAY = date(1970, 1, 1)
CALENDAR_DAYS = ((date.min - _FIRST_DAY).days, (date.max - _FIRST_DAY).days)
"""The first and the last date of Python's calendar, in days."""

OFF_CALENDAR = "the time is not on the calendar (years 1 to 9999)"
"""The reason given for a value that is null because of its time."""


def datetime_of(us: int) -> datetime:
    """The UTC datetime of a time in µs."""
    return _EPOCH + timedelta(microseconds=us)


def us_of(moment: datetime) -> int:
    """A datetime in µs; TypeError where it has no time zone."""
    return (moment - _EPOCH) // _MICROSECOND


def date_of(days: int) -> date:
    """The date that is a number of days after 1970-01-01."""
    return _FIRST_DAY + timedelta(days=days)


def days_of(day: date) -> int:
    """A date in days since 1970-01-01."""
    return (day - _FIRST_DAY).days


def as_stored(value: Any) -> Any:
    """A value as keys and states store it: times in µs, dates in days, other values unchanged."""
    if isinstance(value, datetime):
        return us_of(value)
    return days_of(value) if isinstance(value, date) else value


def iso_time(us: int | None) -> str | None:
    """A time in µs as ISO 8601 in UTC. None stays None; a time that is not on the calendar is shown in µs."""
    if us is None:
        return None
    try:
        return datetime_of(us).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{us} µs"
