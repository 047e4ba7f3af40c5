"""The join, whatever the files, the memory and the threads are that it works with; and what it refuses."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import HeadraceError, LogError, SpineError
from headrace.events.event_batch import ARROW_TYPES
from headrace.history import PointInTimeJoin
from headrace.history.limits import Limits
from headrace.history.spill import spill
from headrace.plan import Column, DType, Feature, Plan, View
from tests.history.conftest import EPOCH, LogOf
from tests.history.oracle import Row
from tests.history.rides import (
    SOURCE,
    assert_as_brute_force,
    counted,
    join,
    plan_of,
    ride,
    spine_of,
    view_of,
)


@pytest.mark.parametrize("as_of", ["known", "evidence"])
def test_same_bits_however_entities_are_dealt(log_of: LogOf, as_of: str) -> None:
    random = Random(4)
    events = [
        ride(ts % 997, ts, price=random.gauss(0, 1) * 10.0 ** random.randrange(-20, 20), known_at=ts % 997 + ts % 7,
             city=random.choice("abcdefg"), partition=ts % 3)
        for ts in range(3000)
    ]  # fmt: skip
    log = log_of(SOURCE, events)
    plan = plan_of(view_of((100, 10), None, entities=("city",)))
    spine = spine_of([Row(t, {"city": city}) for t in range(0, 1000, 7) for city in "abcdefg"])
    refs = plan.resolve("rides:*")
    evidence = [{"rides": {row % 4: 3 * row, 2: row}} for row in range(spine.num_rows)]
    one = PointInTimeJoin(plan, {"rides": log}, threads=1)
    whole = one.join(spine, refs, as_of=as_of, evidence=evidence).table
    for threads, limits in (
        (2, Limits(least_shard=1)),
        (4, Limits(least_shard=1)),
        (2, Limits(shard_events=1)),
        (2, Limits(packed=2_000)),  # as if times and entities hardly fit one number
    ):
        join = PointInTimeJoin(plan, {"rides": log}, threads=threads, limits=limits)
        assert join.join(spine, refs, as_of=as_of, evidence=evidence).table.equals(whole)


def test_spills_to_disk_where_memory_is_short(log_of: LogOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(3)
    events = []
    for offset in range(1_500):
        ts, city = random.randrange(5_000), random.choice("abcdefgh")
        late, driver = random.choice([0, 0, 0, 5, 400]), random.choice([None, "x", "y"])
        events.append(ride(ts, offset, known_at=ts + late, city=city, price=random.random(), driver=driver))
    log = log_of(SOURCE, events)
    plan = plan_of(view_of((1000, 10), None, entities=("city",)))
    spine = spine_of([Row(random.randrange(6_000), {"city": random.choice("abcdefghij")}) for _ in range(600)])
    refs = plan.resolve("rides:*")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[int] = []

    def spilling(*given: Any, **named: Any) -> Any:
        made = spill(*given, **named)
        seen.append(len(list(tmp_path.glob("*/*.arrow"))))
        return made

    monkeypatch.setattr("headrace.history.join.spill", spilling)
    evidence = [{"rides": {0: random.randrange(-1, 1_500)}} for _ in range(spine.num_rows)]
    for as_of in ("known", "event", "evidence"):
        whole = PointInTimeJoin(plan, {"rides": log}).join(spine, refs, as_of=as_of, evidence=evidence).table
        small = PointInTimeJoin(plan, {"rides": log}, memory_limit="100KB")
        assert small.join(spine, refs, as_of=as_of, evidence=evidence).table.equals(whole)
    assert [number > 5 for number in seen] == [True, True, True]
    assert list(tmp_path.iterdir()) == []


def test_memory_limit_that_is_none_is_refused(log_of: LogOf) -> None:
    with pytest.raises(HeadraceError, match="must be an amount of memory, not 'much'"):
        PointInTimeJoin(plan_of(view_of(None)), {"rides": log_of(SOURCE, [])}, memory_limit="much")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_disk_that_is_full_is_said(log_of: LogOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def spill_onto_a_full_disk(*given: Any) -> Any:
        (given[-1] / "0.arrow").symlink_to("/dev/full")
        return spill(*given)

    monkeypatch.setattr("headrace.history.join.spill", spill_onto_a_full_disk)
    plan = plan_of(view_of(None, entities=("city",)))
    join_in_parts = PointInTimeJoin(plan, {"rides": log_of(SOURCE, [ride(5)])}, memory_limit="100B")
    with pytest.raises(HeadraceError, match="needs more space on disk.*No space left on device"):
        join_in_parts.join(spine_of([Row(6, {"city": "a"})]), plan.resolve("rides:*"))


@pytest.mark.parametrize("settled", [False, True])
def test_last_value_skips_nulls_that_no_statistics_tell_of(log_of: LogOf, tmp_path: Path, settled: bool) -> None:
    random = Random(9)
    events = [
        ride(ts, ts, known_at=ts + random.choice([0, 40]), driver=random.choice([None, "x", "y"]), seats=ts)
        for ts in range(200)
    ]
    log = log_of(SOURCE, events)
    files = []
    for file in log.files:
        path = tmp_path / Path(file.path).name
        pq.write_table(pq.read_table(file.path), path, write_statistics=settled)
        files.append(replace(file, path=str(path)))
    view = view_of((50, 10), None, entities=("city",))
    wanted = ("last_driver", "last_seats", "last_price")
    chosen = tuple(one for one in view.features if one.name.rpartition("_")[0] in wanted)
    view = View(name="rides", source="rides", entities=view.entities, features=chosen)
    rows = [Row(t, {"city": "a"}) for t in range(0, 260, 3)]
    assert_as_brute_force(view, replace(log, files=tuple(files)), events, rows, "known")


def test_column_that_older_files_lack_is_null_in_them(log_of: LogOf, tmp_path: Path) -> None:
    log = log_of(SOURCE, [ride(5, 0, driver="x")])
    older = pq.read_table(log.files[0].path).drop_columns(["driver"])
    pq.write_table(older, tmp_path / "older.parquet")
    file = replace(log.files[0], path=str(tmp_path / "older.parquet"))
    view, rows = view_of(None, entities=("city",)), [Row(6, {"city": "a"})]
    mixed = join(view, replace(log, files=(file, *log.files)), rows)
    assert mixed.column("rides__count_all_0").to_pylist() == [2]
    assert mixed.column("rides__count_driver_0").to_pylist() == [1]
    schema = log.schema.remove(log.schema.get_field_index("driver"))
    before = join(view, replace(log, files=(file,), schema=schema), rows)
    assert before.column("rides__last_driver_0").to_pylist() == [None]


def test_missing_file_is_a_log_error_that_names_it(log_of: LogOf) -> None:
    log = log_of(SOURCE, [ride(5)])
    lost = replace(log, files=(replace(log.files[0], path="/nowhere/lost.parquet"),))
    with pytest.raises(LogError, match=r"/nowhere/lost.parquet"):
        join(view_of(None, entities=("city",)), lost, [Row(6, {"city": "a"})])


def test_damaged_file_is_a_log_error(log_of: LogOf, tmp_path: Path) -> None:
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 but no more")
    log = log_of(SOURCE, [ride(5)])
    damaged = replace(log, files=(replace(log.files[0], path=str(tmp_path / "damaged.parquet")),))
    with pytest.raises(LogError, match=r"damaged\.parquet"):
        join(view_of(None, entities=("city",)), damaged, [Row(6, {"city": "a"})])


def test_log_that_was_not_given_is_a_log_error(log_of: LogOf) -> None:
    plan = plan_of(view_of(None))
    spine = spine_of([Row(6, {"city": "a", "zone": 1})])
    with pytest.raises(LogError, match="made from the topic 'rides'"):
        PointInTimeJoin(plan, {}).join(spine, plan.resolve("rides:*"))


def test_unknown_as_of_is_refused(log_of: LogOf) -> None:
    with pytest.raises(SpineError, match="as_of must be 'known' or 'event', not 'processing'"):
        join(view_of(None), log_of(SOURCE, []), [Row(6, {"city": "a", "zone": 1})], "processing")


@pytest.mark.parametrize(
    ("dtype", "keys"),
    [
        (DType.INT64, [1, -(2**63)]),
        (DType.BOOL, [True, False]),
        (DType.STRING, ["ž", "Ž"]),
        (DType.FLOAT64, [0.5, math.inf]),
        (DType.TIMESTAMP, [EPOCH, EPOCH + timedelta(microseconds=1)]),
    ],
)
def test_entities_may_be_keyed_by_any_type(log_of: LogOf, dtype: DType, keys: list[Any]) -> None:
    key = Column(name="key", dtype=dtype)
    source = SOURCE.model_copy(update={"columns": (key, *SOURCE.columns)})
    view = View(name="rides", source="rides", entities=(key,), features=(counted("n", 100, 100),))
    plan = Plan(project="test", sources={"rides": source}, views={"rides": view})
    events = [ride(5, 0, key=keys[0]), ride(6, 1, key=keys[1]), ride(7, 2, key=keys[1]), ride(8, 3, key=None)]
    moments = pa.array([9, 9], pa.timestamp("us", "UTC"))
    spine = pa.table({"event_timestamp": moments, "key": pa.array(keys, ARROW_TYPES[dtype])})
    found = PointInTimeJoin(plan, {"rides": log_of(source, events)}).join(spine, plan.resolve("rides:*")).table
    assert found.column(0).to_pylist() == [1, 2]


def test_names_inside_the_join_are_free_for_columns(log_of: LogOf) -> None:
    names = ("key_id", "t_us", "select", "rows", "moment_id", 'quote"d')
    columns = tuple(Column(name=name, dtype=DType.INT64) for name in names)
    source = SOURCE.model_copy(update={"columns": (*SOURCE.columns, *columns)})
    features = tuple(
        Feature(name=name, function=function, column=name, window_us=None, slide_us=None, dtype=DType.INT64)
        for name, function in zip(names, ("sum", "min", "max", "last", "count", "sum"), strict=True)
    )
    view = View(name="rides", source="rides", entities=columns[:2], features=features)
    plan = Plan(project="test", sources={"rides": source}, views={"rides": view})
    events = [ride(5, 0, **dict(zip(names, range(1, 7), strict=True)))]
    spine = pa.table({"event_timestamp": pa.array([9], pa.timestamp("us", "UTC")), "key_id": [1], "t_us": [2]})
    found = PointInTimeJoin(plan, {"rides": log_of(source, events)}).join(spine, plan.resolve("rides:*")).table
    assert list(found.to_pylist()[0].values()) == [1, 2, 3, 4, 1, 6]
