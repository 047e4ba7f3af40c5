"""Running totals of columns, as integers: what was added can be subtracted again, in any order.

Integers of 64 bits are summed as they are where no sum of them can overflow 64 bits, else as two halves. A double is a
whole multiple of a power of two. Each one is cut into integers ("limbs") of its higher and lower bits, narrow enough
that no sum of a limb overflows 64 bits. NaN and infinities are counted beside them. A sum is put together, and rounded,
once: when it is read. So a training set is the same to the last bit however many threads made it.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from headrace.aggregates import Array, BoolArray, IntArray

__all__ = ["Sums", "Tracks", "double_sum", "integer_sum", "prefix", "tracks_of"]

_HALF = 32
_LOW = np.int64((1 << _HALF) - 1)
_FITS = 1 << 63
_LIMB_BITS = 62
_MANTISSA_BITS = 53
_LEAST_EXPONENT = -1074
"""The smallest positive double is 2^-1074."""

Sums = list[IntArray]
"""One sum per track, shape (rows,) each."""


class DoubleShape(NamedTuple):
    """How a column of doubles is cut into integers.

    Attributes:
        exponent: The lowest limb counts multiples of 2^exponent.
        width: How many bits a limb takes from each value.
        limbs: How many limbs there are.
        finite: Whether every value is finite.
    """

    exponent: int
    width: int
    limbs: int
    finite: bool

    def exponent_of(self, limb: int) -> int:
        """The limb counts multiples of two to this power."""
        return self.exponent + self.width * limb


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

    The result is the double nearest to the exact sum: the same however a column was cut, and so however entities were
    dealt to shards.
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
        return _shape_of(None, None, len(values), finite=finite, bits=bits)
    least = float(sizes.min())
    if not least:
        least = float(sizes.min(where=sizes > 0, initial=greatest))
    return _shape_of(least, greatest, len(values), finite=finite, bits=bits)


def _shape_of(least: float | None, greatest: float | None, rows: int, *, bits: int, finite: bool = True) -> DoubleShape:
    """The shape that holds any sum of a column's values exactly.

    Args:
        least: The least absolute value that is finite and not zero; None where there is none.
        greatest: The greatest absolute value that is finite.
        rows: How many values there are.
        finite: Whether every value is finite.
        bits: How many bits a sum of limbs may take.
    """
    width = bits - rows.bit_length()
    if least is None or not greatest:
        return DoubleShape(0, width, 1, finite)
    exponent = max(math.frexp(least)[1] - _MANTISSA_BITS, _LEAST_EXPONENT)
    span = math.frexp(greatest)[1] - exponent
    return DoubleShape(exponent, width, -(-span // width), finite)


def _scaled(values: Array, power: int) -> Array:
    """``values * 2^power``, exact where the result is a whole number or a part of the value."""
    if abs(power) <= 1000:
        return values * 2.0**power
    return np.ldexp(values, power)
