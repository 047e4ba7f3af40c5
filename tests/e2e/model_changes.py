"""Changes of an event model with what each must lead to, and a project that they are made in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headrace import TrainingClient
from headrace.audit import audit_lookups
from headrace.config import Project
from headrace.erasure import ErasureFilter
from headrace.ingest import Origin, import_history
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import read_plan
from headrace.records.applier import Applier
from headrace.stores import open_store
from headrace.stores.served_plan import live_plan
from headrace.worker.handoff_requests import Request, ask
from headrace.worker.replay import replay
from headrace.worker.startup import hand_off_alone, refill
from tests.declare.conftest import YAML

START = datetime(2026, 1, 5, 10, tzinfo=UTC)
NOW = START + timedelta(hours=1)

FIELDS = "driver: str\nat: AwareDatetime\nn: int\ntip: int | None = None\ncode: str\n"
FEATURES = 'aggregation("count", name="rides"), aggregation("sum", "n", name="ns")'

EVENTS = """
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal
from uuid import uuid4

from pydantic import AliasChoices, AwareDatetime, BaseModel, Field


class Code(StrEnum):
    A = "a"
    B = "b"


class Ride(BaseModel):
"""
DEFS = """
from events import Ride
from feast import Entity, FeatureService
from feast.value_type import ValueType

from headrace import aggregation, event_source, stream_view

{before}
driver = Entity(name="driver", value_type=ValueType.STRING)
rides = event_source(name="rides", topic="rides", model=Ride, key="driver", timestamp_field="at")
stats = stream_view(name="stats", source=rides, entities=[driver], {more} aggregations=[{features}])
"""
BASE: list[dict[str, Any]] = [{"n": 5, "tip": None, "code": "a"}, {"n": 6, "tip": 3, "code": "b"}]
UDF = 'def shouted(rides):\n    return {"loud": [len(one) for one in rides["channel"]]}\n'


@dataclass(frozen=True)
class Case:
    """A change.

    Attributes:
        fields: The model's fields since.
        features: The view's features since.
        late: An event of the new model.
        expected: The features' values then.
        more: Other arguments of the view.
        before: What stands before it.
        logged: The events of before.
        refused: What `apply` says where it does not take the change.
    """

    fields: str = FIELDS
    features: str = FEATURES
    late: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    more: str = ""
    before: str = ""
    logged: Sequence[dict[str, Any]] = tuple(BASE)
    refused: str = ""


def counted(*features: str) -> str:
    return ", ".join(['aggregation("count", name="rides")', *features])


WEB = counted("aggregation('count', where=\"channel = 'web'\", name='web')")
LATE: dict[str, Any] = {"n": 7, "tip": 1, "code": "a"}

CHANGES = {
    "optional field added": Case(
        FIELDS + "note: str | None = None\n",
        counted('aggregation("last", "note", name="last")', 'aggregation("count", "note", name="noted")'),
        {**LATE, "note": "x"},
        {"rides": 3, "last": "x", "noted": 1},
    ),
    "field that can be null added": Case(
        FIELDS + "note: str | None\n",
        counted('aggregation("count", "note", name="noted")'),
        {**LATE, "note": "x"},
        {"rides": 3, "noted": 1},
    ),
    "field with a default added": Case(
        FIELDS + 'channel: str = "web"\n', WEB, {**LATE, "channel": "app"}, {"rides": 3, "web": 2}
    ),
    "field with a default added, and left out": Case(
        FIELDS + 'channel: str = "web"\n', WEB, LATE, {"rides": 3, "web": 3}
    ),
    "field that can be null added with a default": Case(
        FIELDS + 'channel: str | None = "web"\n', WEB, {**LATE, "channel": "app"}, {"rides": 3, "web": 2}
    ),
    "literal with a default added": Case(
        FIELDS + 'channel: Literal["web", "app"] = "web"\n', WEB, LATE, {"rides": 3, "web": 3}
    ),
    "number with a default added": Case(
        FIELDS + "weight: float = 0.5\nfree: bool = True\n",
        counted('aggregation("sum", "weight", name="weight")', 'aggregation("sum", "free", name="free")'),
        {**LATE, "weight": 2.0, "free": False},
        {"rides": 3, "weight": 3.0, "free": 2},
    ),
    "time with a default added": Case(
        FIELDS + "seen: AwareDatetime = datetime(2020, 1, 1, tzinfo=UTC)\n",
        counted('aggregation("first", "seen", name="seen")'),
        LATE,
        {"rides": 3, "seen": datetime(2020, 1, 1, tzinfo=UTC)},
    ),
    "default that a factory makes, always the same": Case(
        FIELDS + 'channel: str = Field(default_factory=lambda: "web")\n', WEB, LATE, {"rides": 3, "web": 3}
    ),
    "default that a function reads": Case(
        FIELDS + 'channel: str = "web"\n',
        counted('aggregation("sum", "loud", name="loud")'),
        {**LATE, "channel": "phone"},
        {"rides": 3, "loud": 11},
        more='udf=shouted, udf_columns={"loud": int},',
        before=UDF,
    ),
    "default that an expression reads": Case(
        FIELDS + 'channel: str = "web"\n',
        counted('aggregation("sum", "size", name="size")'),
        {**LATE, "channel": "phone"},
        {"rides": 3, "size": 11},
        more='derived={"size": "length(channel)"},',
    ),
    "decimal with a default added": Case(
        FIELDS + 'price: Decimal = Field(Decimal("0.5"), decimal_places=2)\n',
        counted('aggregation("sum", "price", name="paid")', 'aggregation("max", "price", name="most")'),
        {**LATE, "price": Decimal("1.25")},
        {"rides": 3, "paid": Decimal("2.25"), "most": Decimal("1.25")},
    ),
    "date with a default added": Case(
        FIELDS + "due: date = date(2026, 1, 5)\n",
        counted('aggregation("min", "due", name="first")', 'aggregation("last", "due", name="due")'),
        {**LATE, "due": "2026-01-06"},
        {"rides": 3, "first": date(2026, 1, 5), "due": date(2026, 1, 6)},
    ),
    "list with a default added": Case(
        FIELDS + "items: list[int] = []\n",
        counted('aggregation("sum", "size", name="size")'),
        {**LATE, "items": [1, 2]},
        {"rides": 3, "size": 9},  # the text of [1,2] and twice that of []
        more='derived={"size": "length(items)"},',
    ),
    "default that is another one each time": Case(
        FIELDS + "id: str = Field(default_factory=lambda: uuid4().hex)\n",
        refused=r"events:Ride\.id has no default that is the same each time, and 2 logged events are without it",
    ),
    "required field added": Case(
        FIELDS + "channel: str\n",
        refused=r"Ride\.channel has no default(?s:.*)Give channel a constant default, or make it `\| None`",
    ),
    "integer became a float": Case(
        FIELDS.replace("n: int", "n: float"), late={**LATE, "n": 0.5}, expected={"rides": 3, "ns": 11.5}
    ),
    "optional integer became a float with a default": Case(
        FIELDS.replace("tip: int | None = None", "tip: float = 0.25"),
        counted('aggregation("sum", "tip", name="tips")', 'aggregation("count", "tip", name="tipped")'),
        {**LATE, "tip": 0.5},
        {"rides": 3, "tips": 3.75, "tipped": 3},
    ),
    "integer that no float is became a float": Case(
        FIELDS.replace("n: int", "n: float"),
        logged=[{**BASE[0], "n": 2**53 + 1}, BASE[1]],
        refused=r"Ride\.n is a float now: .*integers in 'n' that a float cannot store",
    ),
    "integer became a text": Case(
        FIELDS.replace("n: int", "n: str"),
        counted(),
        refused=r"Ride\.n is string now, and logged events hold int64(?s:.*)Leave n as it was",
    ),
    "text became a time": Case(
        FIELDS.replace("code: str", "code: AwareDatetime"), refused="Ride.code is timestamp now"
    ),
    "field removed": Case(FIELDS.replace("n: int\n", ""), counted(), {"code": "a"}, {"rides": 3}),
    "fields in another order": Case(
        "code: str\nn: int\ntip: int | None = None\nat: AwareDatetime\ndriver: str\n",
        late=LATE,
        expected={"rides": 3, "ns": 18},
    ),
    "constraint tightened": Case(
        FIELDS.replace("n: int", "n: int = Field(ge=6)"), late=LATE, expected={"rides": 3, "ns": 18}
    ),
    "text became one of a few": Case(
        FIELDS.replace("code: str", "code: Code"),
        counted('aggregation("last", "code", name="last")'),
        LATE,
        {"rides": 3, "last": "a"},
    ),
    "required field became optional": Case(
        FIELDS.replace("n: int", "n: int | None = None"),
        late={"n": None, "tip": 1, "code": "a"},
        expected={"rides": 3, "ns": 11},
    ),
    "optional field became required": Case(
        FIELDS.replace("tip: int | None = None", "tip: int"),
        refused=r"Ride\.tip is not optional any more, and 1 logged events are without it(?s:.*)Leave tip `\| None`",
    ),
    "optional field that all had became required": Case(
        FIELDS.replace("tip: int | None = None", "tip: int"),
        counted('aggregation("sum", "tip", name="tips")'),
        LATE,
        {"rides": 3, "tips": 6},
        logged=[{**BASE[0], "tip": 2}, BASE[1]],
    ),
    "optional field got a default": Case(
        FIELDS.replace("tip: int | None = None", "tip: int = 10"),
        counted('aggregation("sum", "tip", name="tips")'),
        LATE,
        {"rides": 3, "tips": 14},
    ),
    "field renamed": Case(FIELDS.replace("n: int", "count: int"), counted(), refused="Ride.count has no default"),
    "field renamed by an alias": Case(
        FIELDS.replace("n: int", 'count: int = Field(validation_alias=AliasChoices("count", "n"))'),
        counted(),
        refused=r"Ride\.count reads what logged events hold as 'n'(?s:.*)Keep the name n",
    ),
    "optional field renamed by an alias": Case(
        FIELDS.replace("tip: int | None = None", 'extra: int | None = Field(None, alias="tip")'),
        refused=r"Ride\.extra reads what logged events hold as 'tip'",
    ),
}


class Rides:
    """A project of rides, driven by the functions of the commands."""

    def __init__(self, root: Path) -> None:
        (root / "feature_repo").mkdir()
        (root / "feature_repo" / "feature_store.yaml").write_text(YAML, encoding="utf-8")
        (root / "headrace.toml").write_text('[headrace]\nclock = "system"\n[audit]\nsample = 1.0\n', encoding="utf-8")
        self.root = root
        self.project = Project.load(root)
        self._minutes = 0

    def write(self, fields: str, features: str, more: str = "", before: str = "") -> None:
        body = "".join(f"    {line}\n" for line in fields.splitlines())
        (self.root / "feature_repo" / "events.py").write_text(EVENTS + body, encoding="utf-8")
        (self.root / "feature_repo" / "extra.py").write_text(before, encoding="utf-8")
        imported = "from extra import shouted" if before else ""
        text = DEFS.format(before=imported, more=more, features=features)
        (self.root / "feature_repo" / "defs.py").write_text(text, encoding="utf-8")

    def load(self, rows: Sequence[dict[str, Any]]) -> None:
        made = []
        for row in rows:
            self._minutes += 1
            made.append({"driver": "d", "at": START + timedelta(minutes=self._minutes), **row})
        path = self.root / f"rides-{self._minutes}.parquet"
        pq.write_table(pa.Table.from_pylist(made), path)
        done = import_history(self.project, "rides", Origin(files=str(path)))
        assert (done.events, done.bad) == (len(rows), 0)

    def lookup(self) -> dict[str, Any]:
        with FeatureClient(self.project) as client:
            (row,) = client.get_online_features(["stats:*"], [{"driver": "d"}]).to_arrow().to_pylist()
        return {name.removeprefix("stats__"): value for name, value in row.items() if name.startswith("stats__")}

    def history(self) -> dict[str, Any]:
        spine = pa.table({"driver": ["d"], "event_timestamp": pa.array([NOW], pa.timestamp("us", "UTC"))})
        client = TrainingClient(self.project)
        found = client.get_historical_features(spine, ["stats:*"], as_of="event").to_arrow().to_pylist()[0]
        return {name.removeprefix("stats__"): value for name, value in found.items() if name.startswith("stats__")}

    def follow(self) -> None:
        """Apply what is logged to what is served, as a worker does when it starts."""
        plan = read_plan(self.project.plan_file)
        with open_store(self.project.store_url, writable=True) as store:
            applier = Applier(live_plan(plan, store.catalogue()), store, self.project.repo)
            logs = {"rides": EventLog(self.project.log_path, plan.sources["rides"])}
            erased = ErasureFilter(self.project.erasures, {})
            replay(store, applier, logs.values(), EventLog.imports, erased)

    def backfill(self) -> None:
        plan = read_plan(self.project.plan_file)
        with open_store(self.project.store_url, writable=True) as store:
            ask(self.project.requests, Request(view=plan.views["stats"], source=plan.sources["rides"]))
            assert hand_off_alone(self.project, plan, store)

    def rebuild(self) -> None:
        with open_store(self.project.store_url, writable=True) as store:
            refill(store, self.project, read_plan(self.project.plan_file))

    def audited(self) -> None:
        report = audit_lookups(self.project)
        assert report.ok
        assert report.matches == report.lookups > 0


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return found.keys() == expected.keys() and all(
        value == expected[name] or (isinstance(value, float) and math.isclose(value, expected[name]))
        for name, value in found.items()
    )
