"""Durations: timedeltas to microseconds, and microseconds to text and code."""

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
    """A duration as text, in the largest unit of which it is a whole number.

    >>> shown(5_400_000_000), shown(86_400_000_000), shown(0)
    ('90m', '1d', '0s')
    """
    if us == 0:
        return "0s"
    short, _, size = _unit(us)
    return f"{us // size}{short}"


def as_code(us: int) -> str:
    """A duration as Python code.

    >>> as_code(5_400_000_000)
    'timedelta(minutes=90)'
    """
    _, keyword, size = _unit(us)
    return f"timedelta({keyword}={us // size})"


def nearest_slide(window_us: int, slide_us: int) -> int:
    """The divisor of a window that is nearest to a slide.

    Args:
        window_us: The window, in µs, positive.
        slide_us: The slide, in µs, positive.

    Returns:
        The nearest divisor that is a whole number of the largest unit that fits both; of two at the same distance the
        shorter. For 1 h and 7 minutes this is 6 minutes, not 7.5.

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
    """Divisors of a number. Above 10¹² some can be missing, but there are always some on both sides."""
    for divisor in range(1, _FURTHEST + 1):
        if divisor * divisor > number:
            return
        if number % divisor == 0:
            yield divisor
            yield number // divisor
