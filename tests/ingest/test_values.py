"""What a column's values become: by the model, as if they had come in JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import IngestError
from headrace.ingest.staging import Digest
from headrace.worker.log_rows import batch_of_rows
from tests.ingest.conftest import SOURCE, START, Sale, Shop

ALIASED = """
from enum import StrEnum
from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field


class Coupon(StrEnum):
    SPRING = "spring"


class Sale(BaseModel):
    model_config = ConfigDict(extra="forbid")

    shop: str = Field(alias="store")
    sold_at: AwareDatetime = Field(validation_alias=AliasChoices("at", "when"))
    price: float
    pieces: int = 1
    coupon: Coupon | None = None
    sale_id: str | None
"""


def put(given: Shop, /, **columns: pa.Array) -> str:
    path = given.project.root / "values.parquet"
    pq.write_table(pa.table(columns), path)
    return str(path)


def values(shop: Shop, name: str) -> list[Any]:
    return [value for batch in shop.log.scan() for value in batch.column(name).to_pylist()]


def moments(n: int) -> pa.Array:
    return pa.array([START] * n, pa.timestamp("us", "UTC"))


def test_aliases_enums_and_nulls_are_as_in_json(shop: Shop) -> None:
    (shop.project.repo / "sales_events.py").write_text(ALIASED)
    path = put(
        shop,
        store=pa.array(["a", "b"]),
        at=moments(2),
        price=pa.array([1.0, float("nan")]),
        pieces=pa.array([None, 3], pa.int64()),
        coupon=pa.array(["spring", None]).dictionary_encode(),
        sale_id=pa.array([None, "x"]),
        unused=pa.array([1, 2]),
    )
    shop.load(path)
    assert values(shop, "shop") == ["a", "b"]
    assert values(shop, "pieces") == [1, 3]
    assert values(shop, "coupon") == ["spring", None]
    assert values(shop, "sale_id") == [None, "x"]
    assert [str(value) for value in values(shop, "price")] == ["1.0", "nan"]


def test_numbers_and_times_of_other_types_keep_their_values(shop: Shop) -> None:
    nanoseconds = pa.array([1_356_998_400_000_001_999], pa.timestamp("ns", "UTC"))
    path = put(
        shop,
        shop=pa.array(["a"], pa.large_string()),
        sold_at=nanoseconds,
        price=pa.array([Decimal("12.25")], pa.decimal128(9, 2)),
        pieces=pa.array([Decimal("9007199254740993")], pa.decimal128(20, 0)),
    )
    shop.load(path)
    assert values(shop, "price") == [12.25]
    assert values(shop, "pieces") == [9_007_199_254_740_993]
    assert values(shop, "sold_at") == [datetime(2013, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]


def test_times_of_other_zones_are_the_same_moments(shop: Shop) -> None:
    at = pa.array([START], pa.timestamp("ms", "America/New_York"))
    shop.load(put(shop, shop=pa.array(["a"]), sold_at=at, price=pa.array([1.0])))
    assert values(shop, "_ts_us") == [1_356_998_400_000_000]


def test_value_that_a_column_cannot_hold_is_a_bad_row(shop: Shop) -> None:
    path = put(
        shop,
        shop=pa.array([b"a", b"\xff"], pa.binary()),
        sold_at=moments(2),
        price=pa.array([1.0, 1.0]),
    )
    with pytest.raises(IngestError, match=r"1 of 2 rows .*\n.*row 2, the whole row: it cannot be written as JSON"):
        shop.load(path)


def test_digest_is_of_values_and_not_of_blocks(shop: Shop) -> None:
    shop.load(shop.put([Sale("a", 0), Sale("", 1), Sale("ab", 2, 3.5)]))
    whole = pa.Table.from_batches(shop.log.scan())

    def digest(*parts: pa.Table) -> str:
        found = Digest(SOURCE)
        for part in parts:
            found.add(batch_of_rows(SOURCE, part))
        return found.hexdigest()

    assert digest(whole) == digest(whole.slice(0, 1), whole.slice(1, 0), whole.slice(1))
    assert digest(whole) != digest(whole.slice(1))
    shifted = whole.set_column(0, "shop", pa.array(["", "a", "ab"]))
    assert digest(whole) != digest(shifted)
    nulls = whole.set_column(0, "shop", pa.array(["a", None, "ab"]))
    assert digest(whole) != digest(nulls)
    at = whole.schema.get_field_index("_known_at_us")
    known = whole.set_column(at, "_known_at_us", pa.array([1, 2, 3], pa.int64()))
    assert digest(whole) != digest(known)
