"""Fields of a request: what rows and spines may give, and the field that an error names."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from headrace.errors import LookupRequestError, SpineError
from headrace.lookup.request import entity_columns
from headrace.ondemand import field_of_record, field_of_rows, field_of_spine
from headrace.plan import Column, DType, OnDemandView

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def view(dtype: DType) -> OnDemandView:
    fields = (Column(name="amount", dtype=dtype), Column(name="other", dtype=DType.STRING))
    return OnDemandView(name="v", inputs=(), request=fields, features=fields, mode="python", function="m:f", code="c")


def of_rows(dtype: DType, rows: Any) -> list[Any]:
    made, _ = entity_columns(rows, ())
    declared = view(dtype)
    return field_of_rows(declared, declared.request[0], made.columns.get("amount"), made.lacking("amount"))


@pytest.mark.parametrize(
    ("dtype", "given", "taken"),
    [
        (DType.INT64, [2**63 - 1, None], [2**63 - 1, None]),
        (DType.FLOAT64, [1.5, 2, None], [1.5, 2.0, None]),
        (DType.BOOL, [True, None], [True, None]),
        (DType.STRING, ["a", None], ["a", None]),
        (DType.TIMESTAMP, [NOON.astimezone(timezone(timedelta(hours=2))), None], [NOON, None]),
        (DType.DATE, [date(2026, 1, 5)], [date(2026, 1, 5)]),
        (DType.DECIMAL_2, [Decimal("1.50")], [Decimal("1.50")]),
        (DType.INT64_LIST, [[1, 2], (3,), None], [[1, 2], [3], None]),
    ],
)
def test_rows_give_values_of_the_fields_type(dtype: DType, given: list[Any], taken: list[Any]) -> None:
    assert repr(of_rows(dtype, {"amount": given})) == repr(taken)
    assert repr(of_rows(dtype, [{"amount": one} for one in given])) == repr(taken)


@pytest.mark.parametrize(
    ("dtype", "value", "hint"),
    [
        (DType.INT64, 1.0, "a Python int"),
        (DType.INT64, True, "a Python int"),
        (DType.INT64, 2**63, "a Python int"),
        (DType.INT64, "1", "a Python int"),
        (DType.FLOAT64, 2**53 + 1, "a Python float"),
        (DType.FLOAT64, "1.5", "a Python float"),
        (DType.BOOL, 1, "a Python bool"),
        (DType.STRING, 1, "a Python str"),
        (DType.TIMESTAMP, datetime(2026, 1, 5), "a datetime with a time zone"),  # noqa: DTZ001
        (DType.TIMESTAMP, "2026-01-05", "a datetime with a time zone"),
        (DType.DATE, NOON, "a Python date"),
        (DType.DECIMAL_2, 1.5, "a decimal.Decimal"),
        (DType.INT64_LIST, [1.5], "a list of int"),
        (DType.INT64_LIST, 5, "a list of int"),
    ],
)
def test_value_of_another_type_is_named_with_field_row_and_type(dtype: DType, value: Any, hint: str) -> None:
    with pytest.raises(LookupRequestError) as caught:
        of_rows(dtype, {"amount": [None, value]})
    message = str(caught.value)
    assert f"Row 1 of entity_rows has amount={value!r}; the on-demand view 'v' reads it as {dtype}" in message
    assert f"Pass amount as {hint}" in message


@pytest.mark.parametrize("rows", [[{"amount": 1, "x": 2}, {"x": 2}], [{"amount": 1}, {}]])
def test_row_that_lacks_the_field_is_named(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(LookupRequestError, match="Row 1 of entity_rows has no 'amount', which the on-demand view 'v'"):
        of_rows(DType.INT64, rows)


def test_columns_that_lack_the_field_are_named_with_all_fields() -> None:
    with pytest.raises(LookupRequestError, match=r"Give every row, beside its join keys: amount \(int64\), other"):
        of_rows(DType.INT64, {"x": [1]})


def test_no_rows_need_no_fields() -> None:
    assert of_rows(DType.INT64, []) == []


def test_missing_values_of_pandas_are_null_online_and_in_a_spine() -> None:
    frame = pd.DataFrame({"amount": [1.5, float("nan")]})
    declared = view(DType.FLOAT64)
    assert of_rows(DType.FLOAT64, frame) == [1.5, None]
    spine = pa.Table.from_pandas(frame)
    assert field_of_spine(declared, declared.request[0], spine).to_pylist() == [1.5, None]


@pytest.mark.parametrize(
    ("dtype", "array", "taken"),
    [
        (DType.INT64, pa.array([1, None], pa.int32()), [1, None]),
        (DType.FLOAT64, pa.array([1, None]), [1.0, None]),
        (DType.STRING, pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (DType.TIMESTAMP, pa.array([NOON, None], pa.timestamp("ns", "Europe/Paris")), [NOON, None]),
        (DType.DATE, pa.array(["2026-01-05", None]), [date(2026, 1, 5), None]),
        (DType.INT64, pa.nulls(2), [None, None]),
        (DType.INT64_LIST, pa.array([[1], []]), [[1], []]),
    ],
)
def test_spines_give_values_of_the_fields_type(dtype: DType, array: pa.Array, taken: list[Any]) -> None:
    declared = view(dtype)
    assert field_of_spine(declared, declared.request[0], pa.table({"amount": array})).to_pylist() == taken


@pytest.mark.parametrize(
    ("dtype", "table", "said"),
    [
        (DType.INT64, {"x": [1]}, "The spine has no column 'amount', which the on-demand view 'v' reads"),
        (
            DType.INT64,
            {"amount": [1.0]},
            "The spine's 'amount' is double, and the on-demand view 'v' reads it as int64",
        ),
        (DType.FLOAT64, {"amount": ["1"]}, "is string, and the on-demand view 'v' reads it as float64"),
        (DType.TIMESTAMP, {"amount": [datetime(2026, 1, 5)]}, "is timestamp[us], and"),  # noqa: DTZ001
        (DType.FLOAT64, {"amount": [2**53 + 1]}, "has a value that float64 cannot hold"),
    ],
)
def test_spine_that_lacks_the_field_or_has_another_type_is_refused(
    dtype: DType, table: dict[str, Any], said: str
) -> None:
    declared = view(dtype)
    with pytest.raises(SpineError) as caught:
        field_of_spine(declared, declared.request[0], pa.table(table))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "recorded", "value"),
    [
        (DType.FLOAT64, "nan", float("nan")),
        (DType.FLOAT64, "-inf", float("-inf")),
        (DType.FLOAT64, 5, 5.0),
        (DType.INT64, 2**53 + 1, 2**53 + 1),
        (DType.TIMESTAMP, "2026-01-05T12:00:00Z", NOON),
        (DType.TIMESTAMP, NOON, NOON),
        (DType.DATE, "2026-01-05", date(2026, 1, 5)),
        (DType.DECIMAL_2, "1.50", Decimal("1.50")),
        (DType.FLOAT64_LIST, ["nan", 1.0], [float("nan"), 1.0]),
        (DType.STRING, None, None),
    ],
)
def test_recorded_values_are_read_back(dtype: DType, recorded: Any, value: Any) -> None:
    assert repr(field_of_record(recorded, dtype)) == repr(value)
