"""Durations: timedeltas to microseconds, and microseconds to what people read and write."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

__all__ = ["as_code", "nearest_slide", "shown", "to_us"]

_UNITS = (
    ("d", "days", 86_400_000_000),
    ("h", "hours", 3_600_000_000),
    ("m", "minutes", 60_000_000),
    ("s", "seconds", 1_000_000),
    ("ms", "milliseconds", 1_000),
    ("us", "microseconds", 1),
)
_FURTHEST = 1_000_000


def to_us(duration: timedelta) -> int:
    """A timedelta in microseconds, exactly."""
    return duration // timedelta(microseconds=1)


def shown(us: int) -> str:
    """A duration for people and for names, in the largest unit that measures it whole.

    >>> shown(5_400_000_000), shown(86_400_000_000), shown(0)
    ('90m', '1d', '0s')
    """
    if us == 0:
        return "0s"
    short, _, size = _unit(us)
    return f"{us // size}{short}"


def as_code(us: int) -> str:
    """A duration as Python, to write instead.

    >>> as_code(5_400_000_000)
    'timedelta(minutes=90)'
    """
    _, keyword, size = _unit(us)
    return f"timedelta({keyword}={us // size})"


def nearest_slide(window_us: int, slide_us: int) -> int:
    """The divisor of a window nearest to a slide that does not divide it.

    Args:
        window_us: The window, in µs, positive.
        slide_us: The slide, in µs, positive.

    Returns:
        The nearest divisor that is whole in the largest unit which measures both, the shorter of two as near: of 1 h,
        7 minutes is near 6 minutes rather than 7.5.

    >>> shown(nearest_slide(3_600_000_000, 420_000_000))
    '6m'
    """
    size = _unit(window_us, slide_us)[2]
    window, slide = window_us // size, slide_us // size
    nearest = min(_divisors(window), key=lambda divisor: (abs(divisor - slide), divisor))
    return nearest * size


def _unit(*durations_us: int) -> tuple[str, str, int]:
    return next(unit for unit in _UNITS if all(us % unit[2] == 0 for us in durations_us))


def _divisors(number: int) -> Iterator[int]:
    """Divisors of a number; of one past 10¹² perhaps not all, but always some on both sides."""
    for divisor in range(1, _FURTHEST + 1):
        if divisor * divisor > number:
            return
        if number % divisor == 0:
            yield divisor
            yield number // divisor
