"""Values in Feast's JSON: written as Feast's own server writes them, and read as its clients send them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.plan import Column, DType
from headrace.serving.feast_values import NotOfTypeError, feast_values, read_time, read_values

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)

_MOMENTS = st.datetimes(timezones=st.just(UTC))
VALUES: dict[DType, st.SearchStrategy[Any]] = {
    DType.INT64: st.integers(-(2**63), 2**63 - 1),
    DType.FLOAT64: st.floats(allow_nan=False),  # Feast makes a null of NaN on the way in; ours is written below
    DType.BOOL: st.booleans(),
    DType.STRING: st.text(st.characters(exclude_categories=["Cs"])),
    DType.TIMESTAMP: _MOMENTS,
    DType.DATE: st.dates(),
    DType.DECIMAL_2: st.integers(-(2**63), 2**63 - 1).map(lambda units: Decimal(units).scaleb(-2)),
    DType.JSON: st.just('{"a": [1]}'),
}
VALUES |= {
    dtype.list_of: st.lists(strategy, max_size=4)
    for dtype, strategy in tuple(VALUES.items())
    if dtype.scale is None and dtype is not DType.JSON
}


@pytest.fixture(scope="module")
def by_feast() -> Callable[[Any, DType], Any]:
    """What Feast's own server makes of a value: into its protobuf and out again as JSON."""
    from feast.feature_server_utils import convert_response_to_dict
    from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
    from feast.type_map import python_values_to_proto_values
    from feast.value_type import ValueType

    from headrace.declare.feast_types import FEAST_NAMES

    def served(value: Any, dtype: DType) -> Any:
        given = [one.isoformat() for one in value] if dtype is DType.DATE_LIST else value
        given = value.isoformat() if dtype is DType.DATE else given  # a date is a String to Feast
        protos = python_values_to_proto_values([given], ValueType[FEAST_NAMES[dtype].value_type])
        response = GetOnlineFeaturesResponse()
        response.results.append(GetOnlineFeaturesResponse.FeatureVector(values=protos))
        return convert_response_to_dict(response)["results"][0]["values"][0]

    return served


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_each_type_is_written_as_feast_writes_it(dtype: DType, by_feast: Callable[[Any, DType], Any]) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(VALUES[dtype])
    def check(value: Any) -> None:
        written = feast_values([value], dtype)[0]
        assert json.dumps(written) == json.dumps(by_feast(value, dtype))

    check()


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_what_was_written_reads_back(dtype: DType) -> None:
    @settings(max_examples=60, deadline=None)
    @given(VALUES[dtype])
    def check(value: Any) -> None:
        written = json.loads(json.dumps(feast_values([value, None], dtype)))
        read = read_values(written, Column(name="x", dtype=dtype))
        assert read[1] is None
        if dtype in (DType.TIMESTAMP, DType.TIMESTAMP_LIST):  # Feast's JSON has whole seconds only
            pairs = [(read[0], value)] if dtype is DType.TIMESTAMP else list(zip(read[0], value, strict=True))
            assert all(abs(one - exact) < timedelta(seconds=1) for one, exact in pairs)
        else:
            assert repr(read[0]) == repr(value)
            assert type(read[0]) is type(value)

    check()


def test_floats_that_are_no_numbers_of_json_are_texts_and_others_are_not_copied() -> None:
    plain = [0.5, None, -0.0]
    assert feast_values(plain, DType.FLOAT64) is plain
    odd = [math.nan, math.inf, -math.inf, None, 1.0]
    assert feast_values(odd, DType.FLOAT64) == ["NaN", "Infinity", "-Infinity", None, 1.0]
    assert feast_values([[1.5, math.nan, None]], DType.FLOAT64_LIST) == [[1.5, "NaN", None]]


@pytest.mark.parametrize(
    ("dtype", "given_", "read"),
    [
        (DType.INT64, "1001", 1001),
        (DType.INT64, "-9223372036854775808", -(2**63)),
        (DType.INT64, 1001.0, 1001),
        (DType.FLOAT64, 1, 1.0),
        (DType.BOOL, 1, True),
        (DType.STRING, 7, "7"),
        (DType.TIMESTAMP, 1357041600, NOON),
        (DType.TIMESTAMP, "2013-01-01T12:00:00Z", NOON),
        (DType.TIMESTAMP, "2013-01-01T13:00:00+01:00", NOON),
        (DType.TIMESTAMP, "2013-01-01 12:00:00", NOON),
        (DType.DATE, "2013-01-01", date(2013, 1, 1)),
        (DType.DECIMAL_2, 1.5, Decimal("1.50")),
        (DType.DECIMAL_2, 3, Decimal("3.00")),
        (DType.DECIMAL_2, "1.5", Decimal("1.50")),
        (DType.INT64_LIST, [1.0, "2"], [1, 2]),
        (DType.FLOAT64_LIST, [], []),
        (DType.FLOAT64_LIST, [1, None], [1.0, None]),
    ],
)
def test_forms_that_feasts_clients_send_are_read(dtype: DType, given_: Any, read: Any) -> None:
    found = read_values([given_], Column(name="x", dtype=dtype))[0]
    assert repr(found.astimezone(UTC) if isinstance(found, datetime) else found) == repr(read)


@pytest.mark.parametrize(
    ("dtype", "wrong", "reason"),
    [
        (DType.INT64, "x", "'x' is no int64"),
        (DType.INT64, True, "True is no int64"),
        (DType.INT64, 1.5, "1.5 is no int64"),
        (DType.INT64, 2**63, "it does not fit in 64 bits"),
        (DType.INT64, "٣", "is no int64"),
        (DType.INT64, [1], "is no int64"),
        (DType.INT64, "1" * 5000, "is no int64"),
        (DType.FLOAT64, "1.5", "is no float64"),
        (DType.FLOAT64, True, "is no float64"),
        (DType.FLOAT64, 2**53 + 1, "a float cannot hold it exactly"),
        (DType.FLOAT64, 10**400, "is no float64"),
        (DType.BOOL, "true", "is no bool"),
        (DType.BOOL, 2, "is no bool"),
        (DType.STRING, 1.0, "is no string"),
        (DType.STRING, True, "is no string"),
        (DType.TIMESTAMP, "yesterday", "write times as ISO 8601"),
        (DType.TIMESTAMP, 10**18, "not on the calendar"),
        (DType.TIMESTAMP, 1.5, "write times as ISO 8601"),
        (DType.TIMESTAMP, "0001-01-01T00:00:00+10:00", "write times as ISO 8601"),
        (DType.DATE, "2013-02-30", "write dates as ISO 8601"),
        (DType.DATE, 15706, "write dates as ISO 8601"),
        (DType.DECIMAL_2, "1.505", "more than 2 digits"),
        (DType.DECIMAL_2, "NaN", "is no decimal_2"),
        (DType.DECIMAL_2, "ten", "is no decimal_2"),
        (DType.DECIMAL_2, 10**17, "it does not fit in 64 bits"),
        (DType.DECIMAL_2, "1e999999", "is no decimal_2"),
        (DType.DECIMAL_2, True, "is no decimal_2"),
        (DType.JSON, {"a": 1}, "write it as text"),
        (DType.INT64_LIST, 1, "is no int64_list"),
        (DType.STRING_LIST, ["a", 1.5], "is no string_list"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_row(dtype: DType, wrong: Any, reason: str) -> None:
    with pytest.raises(NotOfTypeError) as refused:
        read_values([None, wrong], Column(name="x", dtype=dtype))
    assert refused.value.row == 1
    assert reason in refused.value.reason
    assert len(refused.value.reason) < 200


def test_a_null_is_refused_where_the_column_has_none() -> None:
    with pytest.raises(NotOfTypeError, match="row 0: it is null"):
        read_values([None], Column(name="x", dtype=DType.INT64, nullable=False))


def test_a_number_is_no_event_time() -> None:
    # pandas, and so Feast's server, would take it as nanoseconds.
    with pytest.raises(NotOfTypeError, match="write times as ISO 8601"):
        read_values([1357041600], Column(name="x", dtype=DType.TIMESTAMP), seconds=False)
    with pytest.raises(ValueError, match="write times as ISO 8601"):
        read_time(1357041600)
