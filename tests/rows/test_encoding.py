"""Values of a row come back as they went in, for every type."""

from __future__ import annotations

import math
import random
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from headrace.errors import RowsError
from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import Column, DType
from headrace.rows import RowCodec

INTS = [0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 5e-324, 1e308]
TEXTS = ["", "a", "µ\0\n", "x" * 1_000]


def some_value(rng: random.Random, dtype: DType) -> Any:
    if rng.random() < 0.2:
        return None
    element = dtype.element
    if element is not None:
        return [some_value(rng, element) for _ in range(rng.randrange(12))]
    if dtype in (DType.STRING, DType.JSON):
        return rng.choice(TEXTS)
    if dtype is DType.FLOAT64:
        return rng.choice([*FLOATS, rng.uniform(-1e9, 1e9)])
    if dtype is DType.BOOL:
        return rng.random() < 0.5
    return rng.choice([*INTS, rng.randrange(-(10**6), 10**6)])


def to_bits(value: Any) -> Any:
    """A value that is equal only to one with the same bits."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    return [to_bits(one) for one in value] if isinstance(value, list) else (type(value), value)


@pytest.mark.parametrize("seed", range(40))
def test_rows_of_random_columns_come_back_to_the_bit(seed: int) -> None:
    rng = random.Random(seed)
    dtypes = [rng.choice(list(DType)) for _ in range(rng.randrange(0, 20))]
    codec = RowCodec([Column(name=f"c{place}", dtype=dtype) for place, dtype in enumerate(dtypes)])
    for _ in range(20):
        values = [some_value(rng, dtype) for dtype in dtypes]
        assert to_bits(codec.decode(codec.encode(values))) == to_bits(values)


@pytest.mark.parametrize("dtype", list(DType))
def test_every_type_alone(dtype: DType) -> None:
    codec, rng = RowCodec([Column(name="c", dtype=dtype)]), random.Random(7)
    for value in [None, *(some_value(rng, dtype) for _ in range(30))]:
        assert to_bits(codec.decode(codec.encode([value]))) == to_bits([value])


def test_columns_of_arrow_are_encoded_as_keys_keep_them() -> None:
    moment, day = datetime(2013, 1, 1, 12, tzinfo=UTC), date(2013, 1, 1)
    given: dict[DType, Any] = {
        DType.TIMESTAMP: moment,
        DType.DATE: day,
        DType.DECIMAL_2: Decimal("-1.50"),
        DType.TIMESTAMP_LIST: [moment, None],
        DType.DATE_LIST: [day],
        DType.STRING_LIST: ["a", None, ""],
        DType.BOOL: True,
        DType.INT64: None,
    }
    columns = [Column(name=dtype.value, dtype=dtype) for dtype in given]
    table = pa.table({dtype.value: pa.array([value], ARROW_TYPES[dtype]) for dtype, value in given.items()})
    codec = RowCodec(columns)
    (encoded,) = codec.encode_table(table)
    us, days = 1357041600000000, 15706
    assert codec.decode(encoded) == [us, days, -150, [us, None], [days], ["a", None, ""], True, None]


def test_a_decimal_past_64_bits_is_refused_by_name() -> None:
    columns = [Column(name="price", dtype=DType.DECIMAL_2)]
    fits, too_big = Decimal("92233720368547758.07"), Decimal("92233720368547758.08")
    codec = RowCodec(columns)
    kind = ARROW_TYPES[DType.DECIMAL_2]
    assert codec.decode(codec.encode_table(pa.table({"price": pa.array([fits], kind)}))[0]) == [2**63 - 1]
    with pytest.raises(RowsError, match="price"):
        codec.encode_table(pa.table({"price": pa.array([too_big], kind)}))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(DType.INT64, 2**63), (DType.INT64, "1"), (DType.STRING, 1), (DType.FLOAT64, "x"), (DType.INT64_LIST, [2**63])],
)
def test_a_value_that_does_not_fit_is_refused_by_name(dtype: DType, value: object) -> None:
    codec = RowCodec([Column(name="first", dtype=DType.INT64), Column(name="second", dtype=dtype)])
    with pytest.raises(RowsError, match="'second'"):
        codec.encode([1, value])


def test_too_few_values_are_refused() -> None:
    codec = RowCodec([Column(name="first", dtype=DType.INT64), Column(name="second", dtype=DType.INT64)])
    with pytest.raises(RowsError, match="2 columns"):
        codec.encode([1])


def test_bytes_that_are_no_row_are_refused() -> None:
    codec = RowCodec([Column(name="price", dtype=DType.INT64)])
    with pytest.raises(RowsError, match="price"):
        codec.decode(b"\0\1")
