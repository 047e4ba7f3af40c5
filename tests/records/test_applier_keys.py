"""Every event goes to the record of its entity and source partition, for every type of join key."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.event_batch import ARROW_TYPES, EventBatch
from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.records.applier import Applier
from headrace.records.entity_keys import entity_key
from headrace.records.reader import RecordReader
from headrace.stores.memory import MemoryStore
from headrace.times import as_stored
from headrace.windows import ViewLayout
from tests.records.orders import SoleStore

NAMES = {
    "text": DType.STRING,
    "number": DType.INT64,
    "flag": DType.BOOL,
    "moment": DType.TIMESTAMP,
    "day": DType.DATE,
}
SOURCE = Source(
    name="s",
    topic="t",
    model="m:M",
    key=None,
    timestamp_field="at",
    columns=(
        *(Column(name=name, dtype=dtype) for name, dtype in NAMES.items()),
        Column(name="at", dtype=DType.TIMESTAMP, nullable=False),
    ),
)
COUNT = Feature(name="n", function="count", column="*", window_us=None, slide_us=None, dtype=DType.INT64)


def plan_of(entities: list[str]) -> Plan:
    keys = tuple(Column(name=name, dtype=NAMES[name], nullable=False) for name in entities)
    view = View(name="v", source="s", entities=keys, features=(COUNT,))
    return Plan(project="p", sources={"s": SOURCE}, views={"v": view})


Row = tuple[str | None, int | None, bool | None, datetime | None, date | None, int]
"""Per join key its value, and the source partition."""


def batch_of(rows: list[Row], first: int) -> EventBatch:
    n = len(rows)
    columns: dict[str, Any] = {
        name: pa.array([row[place] for row in rows], ARROW_TYPES[dtype])
        for place, (name, dtype) in enumerate(NAMES.items())
    }
    ts = np.zeros(n, np.int64)
    columns["at"] = pa.array(ts).cast(pa.timestamp("us", "UTC"))
    partition = np.array([row[-1] for row in rows], np.int64)
    return EventBatch(SOURCE, pa.table(columns), ts, partition, np.arange(first, first + n), ts, ts)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["", "a", "ü", '"', "\\", "a\x00"]),
        st.none() | st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]),
        st.none() | st.booleans(),
        st.none() | st.sampled_from([EPOCH, EPOCH.replace(hour=1)]),
        st.none() | st.sampled_from([date.min, EPOCH.date()]),
        st.sampled_from([0, 1, 2**31 - 1]),
    ),
    max_size=12,
)


@pytest.mark.parametrize("entities", [["text"], ["flag"], ["day"], ["flag", "number", "text", "moment"]], ids=",".join)
@pytest.mark.parametrize("kind", [MemoryStore, SoleStore])
@given(rounds=st.lists(ROWS, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_events_are_counted_by_entity_and_source_partition(
    kind: type[MemoryStore], entities: list[str], rounds: list[list[Row]]
) -> None:
    plan = plan_of(entities)
    view, store = plan.views["v"], kind()
    applier = Applier(plan, store)
    expected: dict[tuple[bytes, int], int] = {}
    first = 0
    for rows in rounds:
        applier.apply([batch_of(rows, first)], {}, 0)
        first += len(rows)
        for row in rows:
            values = [as_stored(row[list(NAMES).index(name)]) for name in entities]
            if None not in values:
                key = (entity_key(values), row[-1])
                expected[key] = expected.get(key, 0) + 1
    layout = ViewLayout.of(view, SOURCE)
    found: dict[tuple[bytes, int], int] = {}
    for entity in store.entities(view.hash):
        for _, source, record in zip(*store.lookup({view.hash: [entity]}).records[view.hash], strict=True):
            (state,) = RecordReader(layout).decode([record], [entity]).tiles[0].states
            found[entity, source.partition] = int(state[0][0])
    assert found == expected
