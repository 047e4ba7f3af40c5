"""The SQL that is run, as files to read.

After a change that is meant: HEADRACE_UPDATE_SNAPSHOTS=1 pytest tests/history/test_evidence_query.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.events.event_batch import ARROW_TYPES
from headrace.history.evidence_query import features_sql
from headrace.history.evidence_tables import events_sql, keys_sql, log_sql, moments_sql
from headrace.history.exact_sums import DoubleShape
from headrace.history.join_plan import AsOf, ViewMatch, match_views
from headrace.plan import Column, DType, Feature, Plan, Source, View

SNAPSHOTS = Path(__file__).parent / "snapshots"
MINUTE, HOUR = 60_000_000, 3_600_000_000

SOURCE = Source(
    name="departures",
    topic="departures",
    model="events:Departure",
    key="origin",
    timestamp_field="at",
    columns=(
        Column(name="origin", dtype=DType.STRING),
        Column(name="carrier", dtype=DType.STRING),
        Column(name="at", dtype=DType.TIMESTAMP),
        Column(name="delay", dtype=DType.FLOAT64),
        Column(name="cancelled", dtype=DType.BOOL),
    ),
)
FEATURES = (
    Feature(name="n_1h", function="count", column="*", window_us=HOUR, slide_us=MINUTE, dtype=DType.INT64),
    Feature(name="mean_1h", function="mean", column="delay", window_us=HOUR, slide_us=MINUTE, dtype=DType.FLOAT64),
    Feature(name="max_1h", function="max", column="delay", window_us=HOUR, slide_us=MINUTE, dtype=DType.FLOAT64),
    Feature(name="cancelled", function="sum", column="cancelled", window_us=None, slide_us=None, dtype=DType.INT64),
    Feature(name="last_at", function="last", column="at", window_us=None, slide_us=None, dtype=DType.TIMESTAMP),
)
ONE_LIMB = DoubleShape(exponent=-52, width=110, limbs=1, finite=True)
HELD = {column.name: ARROW_TYPES[column.dtype] for column in SOURCE.columns if column.name != "cancelled"}


def match() -> ViewMatch:
    view = View(name="flights", source="departures", entities=SOURCE.columns[:2], features=FEATURES)
    plan = Plan(project="test", sources={"departures": SOURCE}, views={"flights": view})
    return match_views(plan, plan.resolve("flights:*"))[0]


def script(shape: DoubleShape) -> str:
    asked = match()
    files = ["log/departures/2013-01-01.parquet", "it's.parquet"]
    statements = [
        log_sql(files, SOURCE, {files[0]: HELD, files[1]: {**HELD, "delay": pa.int64()}}),
        keys_sql(asked.view.join_keys),
        moments_sql(asked.view.join_keys),
        events_sql(asked, asked.bounds(HOUR, 2 * HOUR, AsOf.EVIDENCE)),
        features_sql(asked, {"delay": shape}),
    ]
    return ";\n\n".join(statements) + ";\n"


@pytest.mark.parametrize(
    ("name", "shape"),
    [("evidence", ONE_LIMB), ("wide_doubles", DoubleShape(exponent=-1074, width=110, limbs=2, finite=False))],
)
def test_sql_is_as_written_down(name: str, shape: DoubleShape) -> None:
    path = SNAPSHOTS / f"{name}.sql"
    written = script(shape)
    if "HEADRACE_UPDATE_SNAPSHOTS" in os.environ:
        path.parent.mkdir(exist_ok=True)
        path.write_text(written, encoding="utf-8")
    assert written == path.read_text(encoding="utf-8")
