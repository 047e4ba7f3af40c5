"""A small source of events for the tests of producing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from headrace.events.model_schema import columns_of
from headrace.plan import Source

START = datetime(2013, 1, 1, tzinfo=UTC)
START_MS = 1_356_998_400_000
STEP = timedelta(seconds=30)


class Reading(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sensor: str
    at: AwareDatetime
    value: Annotated[float, Field(le=1000)] | None = None
    count: int = 1


def reading(**fields: Any) -> dict[str, Any]:
    """One reading, as a mapping."""
    return {"sensor": "s1", "at": START, **fields}


def readings(count: int, *, sensors: int = 5) -> list[dict[str, Any]]:
    """Readings of several sensors in turn, 30 s apart."""
    return [
        reading(sensor=f"s{i % sensors}", at=START + i * STEP, value=float(i % 1000), count=i) for i in range(count)
    ]


def source_of(topic: str, model: type[BaseModel] = Reading, key: str | None = "sensor") -> Source:
    """A source of a model's events, keyed by sensor."""
    return Source(
        name=f"{topic}-source",
        topic=topic,
        model=f"events:{model.__name__}",
        key=key,
        timestamp_field="at",
        columns=columns_of(model),
    )
