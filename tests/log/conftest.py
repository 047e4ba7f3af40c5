from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.plan import Column, DType, Source

DAY = 86_400_000_000
START = int(datetime(2013, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

SOURCE = Source(
    name="readings",
    topic="readings",
    model="events:Reading",
    key="sensor",
    timestamp_field="at",
    columns=(
        Column(name="sensor", dtype=DType.STRING, nullable=False),
        Column(name="value", dtype=DType.FLOAT64),
        Column(name="ok", dtype=DType.BOOL),
        Column(name="at", dtype=DType.TIMESTAMP, nullable=False),
    ),
)


def rows(partition: int, offsets: Sequence[int], *, step_us: int = 1_000_000, **given: Any) -> pa.Table:
    """Events at the given offsets, one a step; each one's value is its offset."""
    offset = np.array(offsets, np.int64)
    ts = START + offset * step_us
    columns = {
        "sensor": pa.array([f"s{partition}"] * len(offset)),
        "value": pa.array(offset.astype(np.float64)),
        "ok": pa.array([None] * len(offset), pa.bool_()),
        "at": pa.array(ts, pa.timestamp("us", "UTC")),
        "_ts_us": pa.array(ts),
        "_known_at_us": pa.array(ts + 5),
        "_partition": pa.array(np.full(len(offset), partition), pa.int32()),
        "_offset": pa.array(offset),
        "_record_ts_us": pa.array(ts + 2),
    }
    return pa.table({**columns, **given})


@pytest.fixture
def source() -> Source:
    return SOURCE
