"""History whose rows come from the log: every entity at one time, or each at the times of its events."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace import TrainingClient
from headrace.config import Project
from headrace.errors import LogError, LookupRequestError, SpineError
from headrace.log import EventLog
from headrace.log.log_columns import table_schema
from headrace.plan import Column, DType, Plan, Source, View, write_plan
from headrace.times import datetime_of
from tests.history.oracle import Event, Row, brute_force
from tests.training.conftest import MINUTE, START, START_US, feature, rides, spine_of
from tests.training.conftest import SOURCE as RIDES

SOURCE = Source(
    name="trips",
    topic="trips",
    model="events:Trip",
    key="city",
    timestamp_field="at",
    columns=(
        Column(name="city", dtype=DType.STRING),
        Column(name="driver", dtype=DType.INT64, nullable=True),
        Column(name="seats", dtype=DType.INT64, nullable=True),
        Column(name="price", dtype=DType.FLOAT64),
        Column(name="at", dtype=DType.TIMESTAMP),
    ),
)
FEATURES = (
    feature("n_3m", "count", "*", DType.INT64, 3),
    feature("seats_5m", "sum", "seats", DType.INT64, 5),
    feature("max_price", "max", "price", DType.FLOAT64),
    feature("last_seats", "last", "seats", DType.INT64),
)


def view_of(name: str, *keys: str) -> View:
    columns = tuple(SOURCE.column(key) for key in keys)
    return View(name=name, source="trips", entities=columns, features=FEATURES, input=SOURCE.input_of(FEATURES))


VIEWS = [view_of("cities", "city"), view_of("drivers", "driver"), view_of("pairs", "city", "driver")]
PLAN = Plan(project="test", sources={"trips": SOURCE}, views={view.name: view for view in VIEWS})


def drawn_events(dice: random.Random) -> list[Event]:
    """Up to 40 trips within some minutes; some become known late, or before they happen; some have no driver."""
    events = []
    for partition in (0, 1):
        for offset in range(dice.randrange(20)):
            ts = START_US + dice.randrange(20) * MINUTE // 2
            values = {
                "city": dice.choice("abc"),
                "driver": dice.choice([None, 1, 2, 3]),
                "seats": dice.choice([None, 1, 2, 5]),
                "price": dice.randrange(100) / 4,
                "at": datetime_of(ts),
            }
            events.append(
                Event(ts, ts + dice.choice([0, 0, 1, MINUTE, 5 * MINUTE, -MINUTE]), partition, offset, values)
            )
    return events


def logged(folder: Path, events: Sequence[Event]) -> Project:
    """A project whose log has these events, in up to three appends."""
    (folder / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(folder)
    write_plan(PLAN, project.plan_file)
    log = EventLog(project.log_path, SOURCE)
    for third in range(3):
        some = [event for event in events if event.offset % 20 * 3 // 20 == third]
        if some:
            ends = {event.partition: event.offset for event in some}
            log.append(table_of(some), ends)
    return project


def table_of(events: Sequence[Event]) -> pa.Table:
    own = {
        "_ts_us": [event.ts for event in events],
        "_known_at_us": [event.known_at for event in events],
        "_partition": [event.partition for event in events],
        "_offset": [event.offset for event in events],
        "_record_ts_us": [event.ts for event in events],
    }
    columns = {column.name: [event.values[column.name] for event in events] for column in SOURCE.columns} | own
    schema = pa.schema([field for field in table_schema(SOURCE) if field.name in columns])
    return pa.table(columns, schema=schema)


def expected(
    events: Sequence[Event],
    views: Sequence[View],
    as_of: str,
    rows: set[tuple[int, tuple[Any, ...]]],
    keys: Sequence[str],
) -> list[dict[str, Any]]:
    """The rows by brute force: by time, then by key."""
    found = []
    for t, entity in sorted(rows):
        named = dict(zip(keys, entity, strict=True))
        row: dict[str, Any] = {**named, "event_timestamp": datetime_of(t)}
        for view in views:
            for one in view.features:
                value = brute_force(one, view.join_keys, events, Row(t, named), as_of)
                row[f"{view.name}__{one.name}"] = value
        found.append(row)
    return found


def entity_of(event: Event, keys: Sequence[str]) -> tuple[Any, ...] | None:
    values = tuple(event.values[key] for key in keys)
    return None if None in values else values


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "names", [["cities"], ["drivers"], ["pairs"], ["cities", "pairs"], ["pairs", "drivers", "cities"]]
)
def test_rows_and_values_are_those_of_a_brute_force(tmp_path: Path, seed: int, names: list[str]) -> None:
    dice = random.Random(f"{seed} {names}")
    events = drawn_events(dice)
    client = TrainingClient(logged(tmp_path, events))
    views = [PLAN.views[name] for name in names]
    keys = list(dict.fromkeys(key for view in views for key in view.join_keys))
    for as_of in ("known", "event"):
        limit = dice.choice([None, START_US + dice.randrange(12) * MINUTE])
        seen = [event for event in events if limit is None or event.known_at <= limit]
        at = START_US + dice.randrange(24) * MINUTE // 2 + dice.choice([0, 1])
        known = [e for e in seen if (e.known_at if as_of == "known" else e.ts) <= at]
        rows = {(at, entity) for e in known if (entity := entity_of(e, keys)) is not None}
        asked = {"as_of": as_of, "known_until": None if limit is None else datetime_of(limit)}
        features = [f"{name}:*" for name in names]
        found = client.get_historical_features(None, features, at=datetime_of(at), **asked)  # type: ignore[arg-type]
        assert found.to_arrow().to_pylist() == expected(seen, views, as_of, rows, keys)

        start, end = sorted(START_US + n * MINUTE // 2 for n in dice.sample(range(22), 2))
        begins, ends = dice.choice([(start, end), (start, None), (None, end)])
        inside = [e for e in seen if (begins is None or begins <= e.ts) and (ends is None or e.ts < ends)]
        rows = {(e.ts, entity) for e in inside if (entity := entity_of(e, keys)) is not None}
        between = {"start": begins, "end": ends}
        times = {name: None if us is None else datetime_of(us) for name, us in between.items()}
        found = client.get_historical_features(None, features, **times, **asked)  # type: ignore[arg-type]
        assert found.to_arrow().to_pylist() == expected(seen, views, as_of, rows, keys)


def test_at_a_time_the_entities_are_those_that_a_lookup_would_know(project: Project) -> None:
    client = TrainingClient(project)
    asked = ["city_rides:n_10m"]
    found = client.get_historical_features(None, asked, at=START + timedelta(seconds=29)).to_arrow()
    assert (found.num_rows, found.column_names) == (0, ["city", "event_timestamp", "city_rides__n_10m"])
    found = client.get_historical_features(None, asked, at=START + timedelta(days=9)).to_arrow()
    assert found.to_pylist() == [
        {"city": city, "event_timestamp": START + timedelta(days=9), "city_rides__n_10m": 0} for city in "ab"
    ]


def test_a_range_contains_its_start_and_not_its_end(project: Project) -> None:
    minutes = [START + timedelta(minutes=number) for number in range(4)]
    found = TrainingClient(project).get_historical_features(
        None, ["city_rides:n_10m"], "event", start=minutes[1], end=minutes[3]
    )
    assert found.to_arrow().select([0, 1]).to_pylist() == [
        {"city": city, "event_timestamp": moment} for moment in minutes[1:3] for city in "ab"
    ]
    assert found.to_arrow().column(2).to_pylist() == [2, 2, 3, 3]


def test_an_empty_log_has_no_rows_and_all_columns(bare_project: Project) -> None:
    client = TrainingClient(bare_project)
    for asked in ({"at": START}, {"start": START}):
        found = client.get_historical_features(None, "model", **asked).to_arrow()  # type: ignore[arg-type]
        assert found.num_rows == 0
        assert found.schema.field("event_timestamp").type == pa.timestamp("us", "UTC")
        assert found.num_columns == 7


def test_the_time_column_may_have_another_name(project: Project) -> None:
    found = TrainingClient(project).get_historical_features(None, "model", at=START, time_column="t").to_arrow()
    assert found.column_names[:2] == ["city", "t"]
    with pytest.raises(SpineError, match="cannot be called 'city'"):
        TrainingClient(project).get_historical_features(None, "model", at=START, time_column="city")


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({}, "does not say which rows are wanted"),
        ({"spine": spine_of([1], ["a"]), "at": START}, "different ways"),
        ({"at": START, "start": START}, "different ways"),
        ({"spine": spine_of([1], ["a"]), "end": START}, "different ways"),
        ({"spine": spine_of([1], ["a"]), "entity_df": spine_of([1], ["a"])}, "two names of one argument"),
        ({"at": START.replace(tzinfo=None)}, "at=2013-01-01 00:00:00 is no datetime with a time zone"),
        ({"start": START.replace(tzinfo=None)}, "start=2013-01-01 00:00:00 is no datetime"),
        ({"at": "2013-01-01"}, "at=2013-01-01 is no datetime"),
        ({"start": START, "end": START}, "is not before end="),
        ({"at": START, "known_until": START.replace(tzinfo=None)}, "known_until=2013-01-01 00:00:00 is no datetime"),
        ({"at": START, "as_of": "then"}, "as_of must be 'known' or 'event'"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(project: Project, asked: dict[str, Any], what: str) -> None:
    with pytest.raises(SpineError, match=what):
        TrainingClient(project).get_historical_features(features="model", **asked)


def test_views_without_a_common_key_need_a_spine(tmp_path: Path) -> None:
    client = TrainingClient(logged(tmp_path, []))
    with pytest.raises(SpineError, match="no entities in common: cities by city; drivers by driver"):
        client.get_historical_features(None, ["cities:n_3m", "drivers:n_3m"], at=START)


# --- pins


def test_known_until_gives_what_a_join_gave_before_late_events_came(project: Project) -> None:
    client, log = TrainingClient(project), EventLog(project.log_path, RIDES)
    spine = spine_of([20.5], ["a"])
    before = client.get_historical_features(spine, "model").to_arrow()
    late = rides(0, [60, 61])
    late = late.set_column(late.column_names.index("_ts_us"), "_ts_us", pa.array([START_US + 20 * MINUTE] * 2))
    log.append(late, {0: 61})
    for as_of in ("known", "event"):
        pinned = client.get_historical_features(
            spine, ["city_rides:n_10m"], as_of, known_until=START + timedelta(minutes=60)
        )
        assert pinned.to_arrow().column(3).to_pylist() == [10]
    assert client.get_historical_features(spine, ["city_rides:n_10m"], "event").to_arrow().column(3).to_pylist() == [12]
    assert (
        client.get_historical_features(spine, "model", known_until=START + timedelta(minutes=60)).to_arrow() == before
    )


def test_known_until_holds_where_the_join_is_computed_on_disk(project: Project) -> None:
    spine = spine_of([30, 40, 50], ["a", "b", "a"])
    until = START + timedelta(minutes=35)
    asked = {"features": "model", "as_of": "event", "known_until": until}
    whole = TrainingClient(project).get_historical_features(spine, **asked).to_arrow()  # type: ignore[arg-type]
    parts = TrainingClient(project, memory_limit="1KB").get_historical_features(spine, **asked).to_arrow()  # type: ignore[arg-type]
    assert parts == whole
    assert whole.column("city_rides__n_10m").to_pylist() == [10, 4, 0]


def test_log_version_pins_the_entities_too(project: Project) -> None:
    EventLog(project.log_path, RIDES).append(rides(0, range(60, 70)), {0: 69})
    client, later = TrainingClient(project), START + timedelta(days=1)
    for asked in (1, {"rides": 1}):
        found = client.get_historical_features(
            None, ["city_rides:max_price"], start=START, log_version=asked
        ).to_arrow()
        assert found.num_rows == 120
    assert client.get_historical_features(None, ["city_rides:max_price"], start=START).to_arrow().num_rows == 130
    none = client.get_historical_features(None, ["city_rides:max_price"], at=later, log_version={"rides": None})
    assert none.to_arrow().num_rows == 0


@pytest.mark.parametrize(
    ("asked", "error", "what"),
    [
        ({"ride": 1}, LookupRequestError, "names the topic 'ride', which the plan does not have"),
        (99, LogError, "99"),
    ],
)
def test_a_log_version_that_is_not_there_is_refused(
    project: Project, asked: Any, error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what):
        TrainingClient(project).get_historical_features(None, "model", at=START, log_version=asked)


# --- Feast's names


def test_feasts_names_of_arguments_give_the_same(project: Project) -> None:
    spine = spine_of([20.5], ["a"])
    client = TrainingClient(project)
    ours = client.get_historical_features(spine, "model").to_arrow()
    frame = client.get_historical_features(entity_df=spine.to_pandas(), features="model", full_feature_names=True)
    assert frame.to_arrow().column_names == ours.column_names
    short = client.get_historical_features(entity_df=spine, features=["city_rides:n_10m"], full_feature_names=False)
    assert short.to_arrow().column_names == ["city", "event_timestamp", "label", "n_10m"]
    assert short.to_arrow().column("n_10m").to_pylist() == ours.column("city_rides__n_10m").to_pylist()


def test_short_names_that_two_features_or_the_spine_have_are_refused(tmp_path: Path) -> None:
    client = TrainingClient(logged(tmp_path, []))
    with pytest.raises(LookupRequestError, match="Several of the features are called 'n_3m'"):
        client.get_historical_features(None, ["cities:n_3m", "pairs:n_3m"], at=START, full_feature_names=False)
    spine = pa.table({"city": ["a"], "n_3m": [1], "event_timestamp": pa.array([datetime(2026, 1, 1, tzinfo=UTC)])})
    with pytest.raises(SpineError, match="columns named like features: n_3m"):
        client.get_historical_features(spine, ["cities:n_3m"], full_feature_names=False)
