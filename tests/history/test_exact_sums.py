from __future__ import annotations

import math
import struct

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.history.exact_sums import limb_sql, scaled_sql, shape_of

DOUBLES = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [5e-324, -5e-324, 1.7976931348623157e308, 0.1]
)


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def limbs_of(con: duckdb.DuckDBPyConnection, values: list[float]) -> tuple[list[list[int]], list[int]]:
    """Each value's limbs, and the power of two that each limb counts."""
    sizes = [abs(value) for value in values if value]
    shape = shape_of(min(sizes, default=None), max(sizes, default=0.0), len(values))
    numbers = ", ".join(f"({index}, CAST('{value!r}' AS DOUBLE))" for index, value in enumerate(values))
    columns = ", ".join(f"CAST({limb_sql('x', shape, limb)} AS VARCHAR)" for limb in range(shape.limbs))
    rows = con.sql(f"SELECT {columns} FROM (VALUES {numbers}) AS t(i, x) ORDER BY i").fetchall()
    return [[int(text) for text in row] for row in rows], [shape.exponent_of(limb) for limb in range(shape.limbs)]


@settings(max_examples=60, deadline=None)
@given(values=st.lists(DOUBLES, min_size=1, max_size=6))
def test_limbs_add_up_to_the_double(con: duckdb.DuckDBPyConnection, values: list[float]) -> None:
    limbs, exponents = limbs_of(con, values)
    least = min(exponents)
    for value, parts in zip(values, limbs, strict=True):
        total = sum(part << (exponent - least) for part, exponent in zip(parts, exponents, strict=True))
        numerator, denominator = value.as_integer_ratio()
        assert total * 2 ** max(0, least) * denominator == numerator * 2 ** max(0, -least)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(DOUBLES, min_size=1, max_size=6))
def test_limbs_leave_room_for_their_sum(con: duckdb.DuckDBPyConnection, values: list[float]) -> None:
    limbs, _ = limbs_of(con, values)
    assert all(abs(part) * len(values) < 2**127 for parts in limbs for part in parts)


def test_usual_columns_need_one_limb() -> None:
    assert shape_of(0.01, 1301.0, 10**9).limbs == 1
    assert shape_of(1e-3, 1e9, 10**6).limbs == 1


def test_wider_columns_need_more() -> None:
    assert shape_of(1e-300, 1e300, 1000).limbs > 10


def test_column_of_zeros_and_nulls_needs_one_limb() -> None:
    assert shape_of(None, None, 0).limbs == 1
    assert shape_of(None, 0.0, 5).limbs == 1


@pytest.mark.parametrize("power", [0, 1, -52, 1000, 1074, -1074, 2000])
def test_scaling_is_by_a_power_of_two(con: duckdb.DuckDBPyConnection, power: int) -> None:
    value = 2.0 ** (-power // 2)
    found = con.sql(f"SELECT {scaled_sql('x', power)} FROM (VALUES (CAST('{value!r}' AS DOUBLE))) AS t(x)").fetchall()[
        0
    ][0]
    assert struct.pack("<d", found) == struct.pack("<d", math.ldexp(value, power))
