"""Exact sums of doubles: as integers, so that what was added can be taken away again, and no order of adding matters.

A double is a whole multiple of a power of two. Where a column's values span less than some fifty binary orders of
magnitude, which is nearly always, one 128-bit integer holds any sum of them without rounding. Where they span more,
each value is cut into several integers ("limbs") of its higher and lower bits. NaN and infinities are counted beside.

Rounding happens once, when a sum is read. So a training set is the same to the last bit however many threads made it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["DoubleShape", "limb_sql", "scaled_sql", "shape_of"]

_INTEGER_BITS = 126  # of a signed 128-bit integer, one kept free
_MANTISSA_BITS = 53
_LEAST_EXPONENT = -1074  # the smallest positive double is 2^-1074
_GREATEST_EXPONENT = 1023


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


def shape_of(
    least: float | None, greatest: float | None, rows: int, *, finite: bool = True, bits: int = _INTEGER_BITS
) -> DoubleShape:
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


def limb_sql(value: str, shape: DoubleShape, limb: int) -> str:
    """SQL for one limb of a value.

    Args:
        value: SQL of a finite double.
        shape: The column's shape.
        limb: Which limb, from 0, the lowest.

    Returns:
        SQL of a HUGEINT.
    """
    part = _above(value, shape, limb)
    if limb + 1 < shape.limbs:
        part = f"({part} - {_above(value, shape, limb + 1)})"
    return f"CAST({scaled_sql(part, -shape.exponent_of(limb))} AS HUGEINT)"


def scaled_sql(value: str, power: int) -> str:
    """SQL for ``value * 2^power``, in steps that no double overflows at."""
    if power == 0:
        return value
    if abs(power) <= 1000:
        return f"{value} * pow(2, {power})"
    return f"{value} * pow(2, {power // 2}) * pow(2, {power - power // 2})"


def _above(value: str, shape: DoubleShape, limb: int) -> str:
    """SQL for the part of a value that is a multiple of the limb's power of two."""
    if limb == 0:
        return value
    exponent = shape.exponent_of(limb)
    cut = scaled_sql(f"trunc({scaled_sql(value, -exponent)})", exponent)
    whole_from = exponent + _MANTISSA_BITS
    if whole_from > _GREATEST_EXPONENT:
        return f"({cut})"
    # Past 2^53 multiples a double has no lower bits to cut off, and scaling it could overflow.
    return f"CASE WHEN abs({value}) >= pow(2, {whole_from}) THEN {value} ELSE {cut} END"
