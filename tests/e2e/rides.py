"""A small project of one topic and one view, in a folder of its own, driven by its commands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from headrace.declare import compile_repo
from headrace.plan import write_plan
from headrace.state import LocalState
from tests.commands import Commands

_EVENTS = """from pydantic import AwareDatetime, BaseModel


class Ride(BaseModel):
    driver: str
    at: AwareDatetime
    fare: int
"""
_VIEWS = """from events import Ride
from feast import Entity, FeatureService
from feast.value_type import ValueType

from headrace import aggregation, event_source, stream_view

driver = Entity(name="driver", value_type=ValueType.STRING)
rides = event_source(name="rides", topic="TOPIC", model=Ride, key="driver", timestamp_field="at")
ride_stats = stream_view(
    name="ride_stats",
    source=rides,
    entities=[driver],
    aggregations=[
        aggregation("count", name="rides"),
        aggregation("sum", "fare", name="fares"),
        aggregation("last", "fare", name="last_fare"),
    ],
)
payments = FeatureService(name="payments", features=[ride_stats])
"""
_STORE = """project: rides
provider: local
registry: ../.headrace/registry.db
offline_store:
  type: dask
online_store: null
entity_key_serialization_version: 3
"""


@dataclass
class Rides(Commands):
    """The project.

    Args:
        root: Its folder; it is made.
        topic: The topic of rides.
        broker: The broker's address, or `embedded`.
        partitions: How many partitions the topic gets where headrace makes it.
    """

    root: Path
    topic: str
    broker: str
    partitions: int = 2

    def __post_init__(self) -> None:
        (self.root / "feature_repo").mkdir(parents=True)
        files = {
            "feature_repo/events.py": _EVENTS,
            "feature_repo/views.py": _VIEWS.replace("TOPIC", self.topic),
            "feature_repo/feature_store.yaml": _STORE,
            "headrace.toml": f'[headrace]\nbroker = "{self.broker}"\npartitions = {self.partitions}\n'
            f'group = "{self.topic}"\n',
        }
        for name, text in files.items():
            (self.root / name).write_text(text)
        write_plan(compile_repo(self.root / "feature_repo"), LocalState(self.state).file("plan.json"))

    @property
    def state(self) -> Path:
        return self.root / ".headrace"

    @property
    def variables(self) -> dict[str, str]:
        return {"HEADRACE_PROJECT": str(self.root), "COLUMNS": "400"}

    @property
    def folder(self) -> Path:
        return self.root

    def send(self, address: str, *fares: int, partition: int = 0) -> None:
        """Send a ride of driver d1 for each fare."""
        producer = KafkaProducer(bootstrap_servers=address)
        for fare in fares:
            now = datetime.now(UTC).isoformat()
            value = json.dumps({"driver": "d1", "at": now, "fare": fare}).encode()
            producer.send(self.topic, value, key=b"d1", partition=partition).get(30)
        producer.close()

    def looked_up(self) -> list[Any]:
        """Rides, fares and the last fare of driver d1."""
        found = self.json("lookup", "--service", "payments", "--key", "driver=d1")["features"]
        return [found[f"ride_stats__{name}"] for name in ("rides", "fares", "last_fare")]
