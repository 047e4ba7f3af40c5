"""Values of every type as cells of columns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, create_model

from headrace.events.column_kinds import json_text
from headrace.events.decode import EventDecoder
from headrace.events.model_schema import columns_of
from headrace.events.raw_records import RawRecords
from headrace.plan import Source


class Inner(BaseModel):
    x: int
    y: Decimal = Decimal("1.50")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, None, "a"], '[1,null,"a"]'),
        (Inner(x=1), '{"x":1,"y":"1.50"}'),
        ({"b": 1, "a": [Inner(x=2)]}, '{"b":1,"a":[{"x":2,"y":"1.50"}]}'),
        ({"b", "a", "c"}, '["a","b","c"]'),
        (frozenset({2, 10}), "[10,2]"),
        (b"\xff\x00", '"_wA="'),
        (time(8, 30), '"08:30:00"'),
        (timedelta(seconds=90), '"PT1M30S"'),
        (float("nan"), "NaN"),
        (2**70, str(2**70)),
        (complex(1, 2), '"1+2j"'),
        (UUID(int=1), f'"{UUID(int=1)}"'),
    ],
)
def test_a_value_is_the_same_text_each_time(value: object, text: str) -> None:
    assert json_text(value) == text


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_JSON)
def test_what_json_can_say_is_kept_whole(value: Any) -> None:
    model = create_model("Event", at=(AwareDatetime, ...), field=(Any, ...))
    source = Source(name="s", topic="t", model="m:Event", key=None, timestamp_field="at", columns=columns_of(model))
    record = json.dumps({"at": "2026-01-01T00:00:00Z", "field": value}).encode()
    here = np.zeros(1, np.int64)
    at = here + int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    batch, dead = EventDecoder(source, model).decode(RawRecords(here, here, at, [None], [record]))
    assert not dead
    (cell,) = batch.table.column("field").to_pylist()
    assert value is None and cell is None or json.loads(cell) == value
