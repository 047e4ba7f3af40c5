"""Columns to be summed, as integers: what was added can be taken away again, and no order of adding matters.

Integers of 64 bits are summed as they are where no sum of them can outgrow 64 bits, else as two halves. Doubles are cut into limbs (`exact.py`), and
NaN and infinities are counted beside them. A sum is put together, and rounded, once: when it is read.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from headrace.aggregates import Array, BoolArray, IntArray
from headrace.history.exact_sums import DoubleShape, shape_of

__all__ = ["Sums", "Tracks", "double_sum", "integer_sum", "prefix", "tracks_of"]

_HALF = 32
_LOW = np.int64((1 << _HALF) - 1)
_FITS = 1 << 63
_LIMB_BITS = 62
_MANTISSA_BITS = 53

Sums = list[IntArray]
"""One sum per track, shape (rows,) each."""


class Tracks(NamedTuple):
    """A column as integers.

    Attributes:
        tracks: The integers of each event, shape (n,) each; 0 where the event does not count.
        shape: How doubles are cut; None for integers.
    """

    tracks: list[IntArray]
    shape: DoubleShape | None


def tracks_of(data: Array, counts: BoolArray | None) -> Tracks:
    """Cut a column into integers whose sums cannot overflow.

    Args:
        data: int64 or float64, shape (n,).
        counts: Which events count; None is all.
    """
    if data.dtype == np.float64:
        return _doubles(data, counts)
    values = data if counts is None else np.where(counts, data, 0)
    if len(values) == 0 or max(int(values.max()), -int(values.min())) * len(values) < _FITS:
        return Tracks([values], None)
    return Tracks([values & _LOW, values >> _HALF], None)


def prefix(track: IntArray) -> IntArray:
    """Running totals: at place i, the sum of what stands before it; shape (n + 1,)."""
    totals = np.zeros(len(track) + 1, np.int64)
    np.cumsum(track, out=totals[1:])
    return totals


def integer_sum(sums: Sums) -> tuple[IntArray, BoolArray, Array]:
    """Put a sum of integers together.

    Returns:
        The sums, whether each fits 64 bits, and the sums as doubles.
    """
    if len(sums) == 1:
        return sums[0], np.ones(len(sums[0]), np.bool_), sums[0].astype(np.float64)
    low, high = sums[0] & _LOW, sums[1] + (sums[0] >> _HALF)
    fits = (high >= -(1 << (_HALF - 1))) & (high < (1 << (_HALF - 1)))
    return (high << _HALF) | low, fits, high.astype(np.float64) * 2.0**_HALF + low


def double_sum(sums: Sums, shape: DoubleShape) -> Array:
    """Put a sum of doubles together, NaN and infinities as IEEE 754 adds them.

    The result is the double nearest to the exact sum: the same however a column was cut, and so however entities were dealt to shards.
    """
    limbs = _carried(list(sums[: shape.limbs]), shape.width)
    negative = limbs[-1] < 0
    limbs = _carried([np.where(negative, -limb, limb) for limb in limbs], shape.width)
    with np.errstate(over="ignore", invalid="ignore"):
        total = _rounded(limbs, shape)
    total = np.where(negative, -total, total)
    if shape.finite:
        return total
    nan, up, down = (count > 0 for count in sums[shape.limbs :])
    total = np.where(up, np.inf, np.where(down, -np.inf, total))
    return np.where(nan | (up & down), np.nan, total)


def _carried(limbs: list[IntArray], width: int) -> list[IntArray]:
    """The same number with every limb but the highest at least 0 and below 2^width."""
    for number in range(len(limbs) - 1):
        carried = limbs[number] >> width
        limbs[number] = limbs[number] - (carried << width)
        limbs[number + 1] = limbs[number + 1] + carried
    return limbs


def _rounded(limbs: list[IntArray], shape: DoubleShape) -> Array:
    """The doubles nearest to numbers of limbs that are carried and not negative."""
    parts = [np.ldexp(limb.astype(np.float64), shape.exponent_of(number)) for number, limb in enumerate(limbs)]
    if len(parts) <= 2:
        total: Array = sum(parts[1:], parts[0])
        return total
    high, low, rest = (np.zeros(len(limbs[0])) for _ in range(3))
    for part in reversed(parts):  # high + low + rest is the number; only the rest is rounded
        high, lost = _two_sum(high, part)
        low, lost = _two_sum(low, lost)
        rest = rest + lost
    high, low = _two_sum(high, low)
    total = np.where(np.isfinite(high), high + (low + rest), np.inf)
    # So near the middle of two doubles that the rounding of the rest could decide, or a power of two's narrower side.
    gap = np.spacing(high) * 0.25
    near = np.minimum(np.abs(np.abs(low) - gap), np.abs(np.abs(low) - 2 * gap)) <= gap * 2.0**-40
    for row in np.flatnonzero(near & (rest != 0) & np.isfinite(high)):
        whole = sum(int(limb[row]) << (shape.width * number) for number, limb in enumerate(limbs))
        total[row] = float(Fraction(whole) * Fraction(2) ** shape.exponent)
    return total


def _two_sum(one: Array, other: Array) -> tuple[Array, Array]:
    """A sum, and what it lost to rounding (Knuth)."""
    total = one + other
    seen = total - one
    return total, (one - (total - seen)) + (other - seen)


def _doubles(data: Array, counts: BoolArray | None) -> Tracks:
    finite = np.isfinite(data)
    all_finite = bool(finite.all())
    rest = data
    if counts is not None or not all_finite:
        rest = np.where(finite if counts is None else finite & counts, data, 0.0)
    shape = _shape(rest, finite=all_finite)
    tracks: list[IntArray] = []
    for limb in reversed(range(shape.limbs)):
        exponent = shape.exponent_of(limb)
        scaled = np.trunc(_scaled(rest, -exponent))
        tracks.append(scaled.astype(np.int64))
        if limb:
            rest = rest - _scaled(scaled, exponent)
    tracks.reverse()
    if not all_finite:
        special = (np.isnan(data), np.isposinf(data), np.isneginf(data))
        tracks += [(found if counts is None else found & counts).astype(np.int64) for found in special]
    return Tracks(tracks, shape)


def _shape(values: Array, *, finite: bool) -> DoubleShape:
    sizes = np.abs(values)
    greatest = float(sizes.max(initial=0.0))
    bits = min(_LIMB_BITS, _MANTISSA_BITS + len(values).bit_length())  # so that a limb is a double without rounding
    if not greatest:
        return shape_of(None, None, len(values), finite=finite, bits=bits)
    least = float(sizes.min())
    if not least:
        least = float(sizes.min(where=sizes > 0, initial=greatest))
    return shape_of(least, greatest, len(values), finite=finite, bits=bits)


def _scaled(values: Array, power: int) -> Array:
    """``values * 2^power``, exact where the result is a whole number or a part of the value."""
    if abs(power) <= 1000:
        return values * 2.0**power
    return np.ldexp(values, power)
