"""Every event goes to the record of its entity and source partition, whatever the entity's types and however often it comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.event_batch import EventBatch
from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.records.apply import Applier
from headrace.records.layout import decode_records, entity_key
from headrace.stores.memory import MemoryStore
from headrace.windows import ViewLayout
from tests.records.test_apply import SoleStore

ARROW = {"text": pa.string(), "number": pa.int64(), "flag": pa.bool_(), "share": pa.float64()}
DTYPES = {"text": DType.STRING, "number": DType.INT64, "flag": DType.BOOL, "share": DType.FLOAT64}
SOURCE = Source(
    name="s",
    topic="t",
    model="m:M",
    key=None,
    timestamp_field="at",
    columns=(
        *(Column(name=name, dtype=dtype) for name, dtype in DTYPES.items()),
        Column(name="at", dtype=DType.TIMESTAMP, nullable=False),
    ),
)
COUNT = Feature(name="n", function="count", column="*", window_us=None, slide_us=None, dtype=DType.INT64)


def plan_of(entities: list[str]) -> Plan:
    keys = tuple(Column(name=name, dtype=DTYPES[name], nullable=False) for name in entities)
    view = View(name="v", source="s", entities=keys, features=(COUNT,))
    return Plan(project="p", sources={"s": SOURCE}, views={"v": view})


Row = tuple[str | None, int | None, bool | None, float | None, int]


def batch_of(rows: list[Row], first: int) -> EventBatch:
    n = len(rows)
    columns: dict[str, Any] = {
        name: pa.array([row[place] for row in rows], kind) for place, (name, kind) in enumerate(ARROW.items())
    }
    ts = np.zeros(n, np.int64)
    columns["at"] = pa.array(ts).cast(pa.timestamp("us", "UTC"))
    partition = np.array([row[4] for row in rows], np.int64)
    return EventBatch(SOURCE, pa.table(columns), ts, partition, np.arange(first, first + n), ts, ts)


ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["", "a", "ü", '"', "\\", "a\x00"]),
        st.none() | st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]),
        st.none() | st.booleans(),
        st.none() | st.sampled_from([0.0, -0.0, 1.0, 0.1]),
        st.sampled_from([0, 1, 2**31 - 1]),
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    "entities", [["text"], ["number"], ["flag"], ["share"], ["flag", "number", "text", "share"]], ids=",".join
)
@pytest.mark.parametrize("kind", [MemoryStore, SoleStore])
@given(rounds=st.lists(ROWS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
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
            values = [row[list(ARROW).index(name)] for name in entities]
            if None not in values:
                key = (entity_key(values), row[4])
                expected[key] = expected.get(key, 0) + 1
    layout = ViewLayout.of(view, SOURCE)
    found: dict[tuple[bytes, int], int] = {}
    for entity in store.entities(view.hash):
        for partition, record in store.lookup({view.hash: [entity]}).records[view.hash][0]:
            (state,) = decode_records(layout, [record], [entity]).tiles[0].states
            found[entity, partition] = int(state[0][0])
    assert found == expected
